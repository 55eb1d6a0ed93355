"""The default digit reader: command, training recipe, augmentation, temperature, export."""
