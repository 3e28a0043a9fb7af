"""`equipoise faults`: what the doctor knows."""

from pathlib import Path


def faults(name: str | None = None, *, pages: Path | None = None) -> None:
    """List the faults, a line each; with a NAME, explain one: what it sees, why it matters, what helps.

    Parameters
    ----------
    name
        A fault of the list, such as "mode-collapse".
    pages
        Write the documentation pages of all faults into this folder.
    """
    from equipoise.doctor import pages as documentation
    from equipoise.doctor.faults import FAULTS

    if pages is not None:
        pages.mkdir(parents=True, exist_ok=True)
        for file, text in documentation.pages().items():
            (pages / file).write_text(text, encoding="utf-8")
        print(f"{len(documentation.pages())} pages in {pages}")
        return
    if name is not None:
        print(documentation.page(documentation.fault_named(name)), end="")
        return
    for fault in FAULTS:
        print(f"  {fault.name:20} {fault.explanation}")
    print("\nExplain one: equipoise faults NAME")
