"""The model: embedding tables and two towers."""
