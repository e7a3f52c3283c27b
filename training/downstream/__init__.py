"""Whether synthetic images are of use downstream: networks trained on real, mixed and synthetic images, tested on
held-out real patients (WDLoRA paper, sections IV.B.3, IV.C and V.B).
"""
