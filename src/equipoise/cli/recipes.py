"""`equipoise recipes`: what can be trained out of the box."""


def recipes() -> None:
    """List the recipes that come with Equipoise."""
    from equipoise.recipes import SHIPPED

    for name, recipe in SHIPPED.items():
        print(f"{name:20} {(recipe.__doc__ or '').strip().splitlines()[0]}")
    print("\nShow one in full: equipoise train NAME --dry-run")
