"""jaxmars: a JAX-native market simulator."""

__version__ = "0.1.0"
