"""The documentation page of every fault, made from its file."""

from equipoise.core.errors import RecipeError, nearest
from equipoise.doctor.fault import Fault, Seeded
from equipoise.doctor.faults import FAULTS
from equipoise.doctor.words import options


def page(fault: Fault) -> str:
    """The page docs/faults/NAME.md."""
    first, _, rest = fault.page.strip().partition("\n\n")
    needs = ", ".join(f"`{name}`" for name in fault.needs) or "nothing but what every training has"
    lines = [f"# {fault.title}", "", first, "", rest, "", f"**Severity.** {fault.severity.capitalize()}.", ""]
    lines += [f"**Needs.** {needs}; the symptom must be there at {count(fault.looks)}.", ""]
    lines += ["## Seeded", "", planted(fault.seeded), ""]
    remedies = fault.remedies({}, ())
    if remedies:
        lines += ["## What helps, the first first", ""]
        for remedy in remedies:
            anew = " Training begins anew." if remedy.restarts else ""
            lines.append(f"- `{options(remedy.settings)}`: {remedy.why}{anew}")
        lines += ["", "The numbers follow from the recipe; here they are those of a recipe with all defaults."]
    lines += ["", "Made from the fault's file by `equipoise faults --pages docs/faults`."]
    return "\n".join(lines) + "\n"


def planted(seeded: Seeded) -> str:
    """How to make the fault, and what is healthy, in words."""
    command = f"equipoise train {seeded.recipe}"
    common = options({**seeded.healthy, "training.steps": seeded.steps, "watching.probes_every": 25})
    wrong = f" {options(seeded.settings)}" if seeded.settings else ""
    hand = f", where {seeded.by_hand}," if seeded.by_hand else ""
    return f"`{command} {common}{wrong}`{hand} has it; `{command} {common}` does not. A test runs both."


def count(looks: int) -> str:
    """So many looks, in words."""
    return "one look" if looks == 1 else f"{looks} looks in a row"


def index() -> str:
    """The page docs/faults/README.md."""
    lines = [
        "# Faults",
        "",
        "What the doctor knows, causes before their consequences. It looks at every training",
        "(`watching.probes_every`), tells of a fault when it is found, and says all it knows by",
        "`equipoise doctor RUN`; `equipoise train --autopilot` applies the remedies. Thresholds are",
        "ratios, ranks and shares, never losses.",
        "",
        "| fault | severity | what it is |",
        "|---|---|---|",
    ]
    lines += [f"| [{f.title}]({f.name}.md) | {f.severity} | {f.explanation} |" for f in FAULTS]
    return "\n".join(lines) + "\n"


def pages() -> dict[str, str]:
    """All pages by file name."""
    return {"README.md": index(), **{f"{fault.name}.md": page(fault) for fault in FAULTS}}


def fault_named(name: str) -> Fault:
    """The fault of that name. Raises `RecipeError` naming the nearest."""
    for fault in FAULTS:
        if fault.name == name:
            return fault
    raise RecipeError(f"There is no fault {name!r}. {nearest(name, [fault.name for fault in FAULTS])}")
