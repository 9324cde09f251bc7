"""What is trained on: proposals, expected counts and the columns of a batch."""
