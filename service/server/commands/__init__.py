"""Commands of the operator: keys, signatures of models, and the doctor.

They import `server` and what lies below it, and answer with lines on standard output. The command line calls them.
"""
