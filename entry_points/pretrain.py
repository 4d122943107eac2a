"""Entry point ``pretrain`` of ``MLproject``."""

from lesion_transfer.entry import run_entry_point

if __name__ == "__main__":
    raise SystemExit(run_entry_point("pretrain"))
