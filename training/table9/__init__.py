"""The paper's Table IX: SPADE, MAISI-2D, LoRA and WDLoRA on the same masks and split, and limits beside them."""
