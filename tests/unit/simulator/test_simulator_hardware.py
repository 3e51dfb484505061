"""Hardware descriptions: presets are complete and sourced, and a figure that cannot be is refused by name."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import pytest

from perfguard_suites.simulator import hardware as module
from perfguard_suites.simulator.errors import HardwareError
from perfguard_suites.simulator.hardware import PRESETS, Hardware, load_hardware

PRESET_TEXT = (Path(module.__file__).parent / "hardware_presets" / "h100.toml").read_text()


def load(tmp_path: Path, text: str) -> Hardware:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return load_hardware(path)


def without(key: str) -> str:
    return "\n".join(line for line in PRESET_TEXT.splitlines() if not line.startswith(f"{key} = "))


@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_figure_has_a_source(name: str) -> None:
    """A preset loads, and says of each of its figures where it is from."""
    hardware = load_hardware(name)
    assert {field.name for field in fields(hardware)} - set(hardware.sources) == {"name", "sources"}


@pytest.mark.parametrize(("name", "tflops"), [("a100", 312), ("h100", 989.4), ("h200", 989.4)])
def test_peak_is_the_datasheets(name: str, tflops: float) -> None:
    """Cores, matrix unit and clock multiply to the peak that the vendor quotes."""
    assert load_hardware(name).peak_flops_per_s("bf16") == pytest.approx(tflops * 1e12, rel=1e-3)


def test_missing_figure_is_named(tmp_path: Path) -> None:
    """A file without a figure is refused with file, key and unit."""
    text = "\n".join(line for line in PRESET_TEXT.split("[sources]")[0].splitlines() if "dram_bandwidth" not in line)
    with pytest.raises(HardwareError, match=r"mine\.toml: dram_bandwidth_bytes_per_s: missing .*bytes a second"):
        load(tmp_path, text)


@pytest.mark.parametrize("figure", ["-3.35e12", "0.0", "nan", "inf"])
def test_impossible_figure_is_named(tmp_path: Path, figure: str) -> None:
    """A bandwidth that is negative, zero, infinite or no number is refused with file and key."""
    text = PRESET_TEXT.replace("dram_bandwidth_bytes_per_s = 3.35e12", f"dram_bandwidth_bytes_per_s = {figure}")
    with pytest.raises(HardwareError, match=r"mine\.toml: dram_bandwidth_bytes_per_s: .*not a positive number"):
        load(tmp_path, text)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("dram_bandwidth = 3350", r"dram_bandwidth: no such key .*unit.*dram_bandwidth_bytes_per_s"),
        ('dram_bandwidth_bytes_per_s = "3.35 TB/s"', r"dram_bandwidth_bytes_per_s: '3.35 TB/s' is a text .*bytes a"),
        ("dram_bandwidth_bytes_per_s = true", r"dram_bandwidth_bytes_per_s: True is no float"),
    ],
)
def test_unitless_figure_is_named(tmp_path: Path, line: str, message: str) -> None:
    """A key without its unit, or a text that carries one, is refused and the right key is given."""
    with pytest.raises(HardwareError, match=message):
        load(tmp_path, PRESET_TEXT.replace("dram_bandwidth_bytes_per_s = 3.35e12", line))


def test_link_figures_are_checked(tmp_path: Path) -> None:
    """A level of the network is checked like the device."""
    with pytest.raises(HardwareError, match=r"levels\[0\]\.latency_s"):
        load(tmp_path, PRESET_TEXT.replace("latency_s = 3e-6", "latency_s = -3e-6"))


@pytest.mark.parametrize("name", ["h300", "/nowhere/mine.toml"])
def test_unknown_hardware_is_named(name: str) -> None:
    """Neither a preset nor a file: the error says which presets there are, or what is wrong with the file."""
    with pytest.raises(HardwareError, match=name):
        load_hardware(name)


def test_unknown_dtype_is_named() -> None:
    """A100 has no FP8, and says what it has."""
    with pytest.raises(HardwareError, match=r"a100: dtype_rates: no 'fp8' .*bf16"):
        load_hardware("a100").peak_flops_per_s("fp8")


def test_digest_is_of_the_content() -> None:
    """Two devices with the same figures are equal and hash alike; one figure more or less, and they are not."""
    device = load_hardware("h100")
    assert device == load_hardware("h100")
    assert hash(device) == hash(load_hardware("h100"))
    assert device != replace(device, clock_hz=device.clock_hz * 1.0001)
