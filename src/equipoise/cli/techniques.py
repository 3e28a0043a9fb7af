"""`equipoise techniques`: what can be added to a training, and how."""


def techniques(name: str | None = None, *, markdown: bool = False) -> None:
    """List the techniques, a line each; with a NAME, explain one: formula, default, cost and source.

    Parameters
    ----------
    name
        A technique of the list, such as "packing".
    markdown
        Print the whole documentation page.
    """
    from equipoise.core.errors import RecipeError
    from equipoise.runs import catalogue

    if markdown:
        print(catalogue.markdown(), end="")
        return
    entries = catalogue.entries()
    if name is not None:
        found = catalogue.found(name)
        if not found:
            raise RecipeError(f"There is no technique {name!r}. {catalogue.hint(name)}")
        for entry in found:
            print(f"{entry.name}: {entry.about}\n\nUse it by: {entry.command}\n")
        return
    group = ""
    for entry in entries:
        if entry.group != group:
            print(f"\n{entry.group}" if group else entry.group)
            group = entry.group
        print(f"  {entry.name:30} {entry.summary}")
    print("\nExplain one: equipoise techniques NAME")
