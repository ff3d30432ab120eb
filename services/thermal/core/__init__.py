"""Pure core of the thermal service: model, discretisation, filter, prediction, identification."""
