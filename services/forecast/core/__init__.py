"""Pure forecasting core: arrays and plain dataclasses in, arrays and plain dataclasses out."""
