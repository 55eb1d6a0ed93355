"""The specialist for the tutorial's mixture of two sines: command, training recipe, export."""
