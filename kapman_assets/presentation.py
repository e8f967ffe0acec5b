"""What every asset says of itself in the web interface, derived from what is there.

An asset's own description tells what it holds and where that comes from. Added here, so that it can't drift: the jobs
that run it, what its checks mean, its step in the runbook, and references that open the code.
"""

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import dagster as dg

from kapman_assets.order import CHAIN
from kapman_resources.settings import PROJECT, settings

RUNBOOK = PROJECT / "docs" / "runbook.md"
_HEADING = re.compile(r"^#+ (?P<title>\d+\. .* asset `(?P<asset>\w+)`)$")


def presented(
    assets: Sequence[dg.AssetsDefinition],
    checks: Iterable[dg.AssetChecksDefinition],
    jobs: Iterable[Any],
) -> list[dg.AssetsDefinition]:
    """The assets with complete descriptions and code references.

    jobs: of these the ones that are made of assets.
    """
    specs = [spec for definition in checks for spec in definition.check_specs]
    selections = {
        job.name: job.selection.resolve(assets)
        for job in jobs
        if isinstance(getattr(job, "selection", None), dg.AssetSelection)
    }
    steps = runbook_steps()

    def complete(asset: dg.AssetsDefinition) -> dg.AssetsDefinition:
        name = asset.key.to_user_string()
        own = [spec for spec in specs if spec.asset_key == asset.key]
        run_by = [job for job, keys in selections.items() if asset.key in keys]
        parts = [
            asset.descriptions_by_key[asset.key],
            f"**Run by** {_listed(run_by)}; alone: {_alone(asset)}.",
            f"**When something is wrong:** {_runbook_link(name, steps)}.",
            "\n".join(["**Checks**", "", *map(_check_line, own)]),
        ]
        references = dg.CodeReferencesMetadataValue(code_references=_references(asset, steps))
        return asset.map_asset_specs(
            lambda spec: spec.replace_attributes(
                description="\n\n".join(parts),
                metadata={**spec.metadata, "dagster/code_references": references},
            )
        )

    return [complete(asset) for asset in assets]


def runbook_steps() -> Mapping[str, tuple[int, str]]:
    """By asset: line and title of its step in the runbook; empty where the documentation isn't installed."""
    if not RUNBOOK.is_file():
        return {}
    found = enumerate(map(_HEADING.match, RUNBOOK.read_text("utf-8").splitlines()), start=1)
    return {heading["asset"]: (line, heading["title"]) for line, heading in found if heading}


def _listed(jobs: Sequence[str]) -> str:
    if not jobs:
        return "no job"
    return f"{'jobs' if len(jobs) > 1 else 'job'} {', '.join(f'`{job}`' for job in jobs)}"


def _alone(asset: dg.AssetsDefinition) -> str:
    partition = " --partition YYYY-MM-DD" if asset.partitions_def else ""
    return f"`dagster asset materialize -m kapman_assets --select {asset.key.to_user_string()}{partition}`"


def _check_line(spec: dg.AssetCheckSpec) -> str:
    """Name, whether the next step waits for it, and the description's first sentence."""
    blocking = " (blocking)" if spec.blocking else ""
    sentence = (spec.description or "").splitlines()[0].partition(". ")[0].rstrip(".")
    return f"- `{spec.name}`{blocking}: {sentence}."


def _runbook_link(asset: str, steps: Mapping[str, tuple[int, str]]) -> str:
    text = f"runbook, step {CHAIN.index(asset) + 1}"
    if settings().source_url and asset in steps:
        # As the hosts of Git repositories make them: lower case, punctuation dropped, a hyphen for each blank.
        anchor = re.sub(r"[^\w\- ]", "", steps[asset][1].lower()).replace(" ", "-")
        return f"[{text}]({_url(RUNBOOK)}#{anchor})"
    return f"{text}, in `docs/runbook.md`"


def _references(asset: dg.AssetsDefinition, steps: Mapping[str, tuple[int, str]]) -> list[Any]:
    """The asset's function, and its step in the runbook."""
    function = inspect.unwrap(asset.op.compute_fn.decorated_fn)  # type: ignore[union-attr]
    file, line = Path(inspect.getfile(function)), inspect.getsourcelines(function)[1]
    found = [_reference(file, line, "code")]
    name = asset.key.to_user_string()
    if name in steps:
        found.append(_reference(RUNBOOK, steps[name][0], "runbook"))
    return found


def _reference(file: Path, line: int, label: str) -> Any:
    """Opens in the editor of who looks, or where the project's source is shown if that is known."""
    if settings().source_url:
        return dg.UrlCodeReference(url=f"{_url(file)}#L{line}", label=label)
    return dg.LocalFileCodeReference(file_path=str(file), line_number=line, label=label)


def _url(file: Path) -> str:
    return f"{str(settings().source_url).rstrip('/')}/{file.relative_to(PROJECT).as_posix()}"
