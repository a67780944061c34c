"""TRL's SFTTrainer as its documentation shows it: prompt and completion, LoRA on every linear layer, no packing."""

from __future__ import annotations

import time
from typing import Any

import torch
from common import peak_mib, read_job, read_rows, report
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, TrainerCallback
from trl import SFTConfig, SFTTrainer


def load(job: dict[str, Any]) -> Any:
    options: dict[str, Any] = {"dtype": getattr(torch, job["dtype"])}
    if job.get("method") == "qlora":
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    if job.get("device") == "cuda":
        options["device_map"] = {"": 0}
    return AutoModelForCausalLM.from_pretrained(job["model"], **options)


class Clock(TrainerCallback):  # type: ignore[misc]
    """The time at which step `skip` was done."""

    def __init__(self, skip: int) -> None:
        self.skip = skip
        self.time = 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        if state.global_step == self.skip:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.time = time.perf_counter()


def trainer_for(job: dict[str, Any]) -> Any:
    rows = [row["messages"] for row in read_rows(job["train"])]
    config = SFTConfig(
        output_dir=job["out"],
        max_steps=job["steps"],
        per_device_train_batch_size=job["batch_size"],
        learning_rate=job["learning_rate"],
        lr_scheduler_type="cosine",
        warmup_steps=job["warmup_steps"],
        max_length=job["max_length"],
        seed=job["seed"],
        bf16=job["dtype"] == "bfloat16",
        use_cpu=job.get("device", "cpu") == "cpu",
        gradient_checkpointing=False,
        logging_steps=job["steps"],
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    lora = LoraConfig(
        r=16, lora_alpha=32, lora_dropout=job["dropout"], target_modules="all-linear", task_type="CAUSAL_LM"
    )
    return SFTTrainer(
        model=load(job),
        args=config,
        train_dataset=Dataset.from_list([{"prompt": row[:-1], "completion": row[-1:]} for row in rows]),
        processing_class=AutoTokenizer.from_pretrained(job["model"]),
        peft_config=lora,
    )


def main() -> None:
    job = read_job()
    trainer, clock = trainer_for(job), Clock(job.get("skip", 0))
    trainer.add_callback(clock)
    start = time.perf_counter()
    trainer.train()
    end = time.perf_counter()
    on_gpu = job.get("device") == "cuda"
    peak = torch.cuda.max_memory_allocated() >> 20 if on_gpu else peak_mib()
    trainer.save_model(job["out"])
    report(seconds=end - start, warm_seconds=end - (clock.time or start), peak_mib=peak, adapter=job["out"])


if __name__ == "__main__":
    main()
