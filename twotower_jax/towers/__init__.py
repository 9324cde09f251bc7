"""What is learned: embedding tables and the two towers."""
