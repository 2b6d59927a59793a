"""x"""
def convert() -> None:
    """x."""
