"""The device boundary: one file a device family, each a few small classes. See README.md."""
