"""The YAML through the parser of TRL's own command line, and its data through `datasets`, as `trl sft` does both."""

from __future__ import annotations

from importlib.metadata import version

import yaml
from common import as_values, job, report


def main() -> None:
    config, folder = job()
    from datasets import load_dataset
    from trl import get_peft_config
    from trl.scripts import dpo, sft

    given = yaml.safe_load((folder / config).read_text(encoding="utf-8"))
    parser = (dpo if "beta" in given else sft).make_parser()
    parts = parser.parse_args_and_config(["--config", config, "--use_cpu", "true"])  # an unknown key raises here
    values = as_values(parts[0], parts[1], parts[2])
    rows = {name: len(part) for name, part in load_dataset(parts[0].dataset_name).items()}
    adapter = get_peft_config(parts[2])
    found = {"r": adapter.r, "use_dora": adapter.use_dora} if adapter else None
    report(version=version("trl"), unknown=[], values=values, rows=rows, adapter=found)


main()
