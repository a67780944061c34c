"""The YAML through Axolotl's own validation. It ignores unknown keys, so they are looked for here."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import yaml
from common import job, plain, report


def main() -> None:
    config, folder = job()
    from axolotl.utils.config import validate_config
    from axolotl.utils.dict import DictDefault
    from axolotl.utils.schemas.config import AxolotlInputConfig
    from axolotl.utils.schemas.datasets import DPODataset, SFTDataset

    given = yaml.safe_load((folder / config).read_text(encoding="utf-8"))
    known = set(AxolotlInputConfig.model_fields)
    unknown = sorted(given.keys() - known)
    rows: dict[str, int] = {}
    kind: Any = DPODataset if given.get("rl") == "dpo" else SFTDataset
    for part in ("datasets", "test_datasets"):
        for dataset in given.get(part, []):
            unknown += sorted(f"{part}.{key}" for key in dataset.keys() - set(kind.model_fields))
            rows[dataset["path"]] = len((folder / dataset["path"]).read_text(encoding="utf-8").splitlines())
    checked = validate_config(DictDefault(given)).to_dict()  # faults raise here
    values = {name: plain(checked.get(name)) for name in given if not name.endswith("datasets")}
    report(version=version("axolotl"), unknown=unknown, values=values, rows=rows)


main()
