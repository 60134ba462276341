"""What is done to a built model."""
