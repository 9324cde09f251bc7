"""The sections of the configuration: plain dataclasses with ranges."""
