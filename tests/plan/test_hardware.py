import pytest

from longspan.plan.hardware import bf16_support, cpu_flags, peak_tflops, supports_bf16


@pytest.mark.parametrize(
    ("device", "bf16", "fp32"),
    [
        ("NVIDIA A100-SXM4-80GB", 312, 19.5),
        ("NVIDIA A100-PCIE-40GB", 312, 19.5),
        ("NVIDIA H100 80GB HBM3", 989.5, 67),
        ("NVIDIA H100 PCIe", 756.5, 51),
        ("NVIDIA H100 NVL", 835.5, 60),
        ("NVIDIA H200", 989.5, 67),
        ("NVIDIA B200", 2250, 75),
        ("NVIDIA GH200 480GB", 989.5, 67),
        ("NVIDIA A10", 125, 31.2),
        ("NVIDIA A10G", 70, 35),
        ("NVIDIA L4", 121, 30.3),
        ("NVIDIA L40S", 362, 91.6),
        ("Tesla V100-SXM2-32GB", None, 15.7),
        ("AMD Instinct MI300X", 1307.4, 163.4),
    ],
)
def test_peaks_by_the_names_that_drivers_give(device, bf16, fp32):
    assert peak_tflops(device, "bf16") == bf16
    assert peak_tflops(device, "fp32") == fp32


@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        "AMD EPYC 7B13",
        "NVIDIA Imaginary 9000",
        "NVIDIA A1000",
        "NVIDIA A100-SXM4-40GB MIG 1g.5gb",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
    ],
)
def test_what_is_not_listed_has_no_peak(device):
    assert peak_tflops(device, "bf16") is None


@pytest.mark.parametrize(
    ("line", "supported"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_bf16 amx_tile", True),
        ("flags\t\t: fpu avx512f amx_bf16 amx_tile amx_int8", True),
        ("flags\t\t: fpu sse2 avx2 fma f16c", False),
        ("Features\t: fp asimd sve bf16 i8mm", True),
        ("Features\t: fp asimd crc32", False),
    ],
)
def test_a_cpu_computes_in_bf16_only_with_the_units_for_it(tmp_path, line, supported):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nmodel name\t: avx512_bf16 in a name\n{line}\n")
    found = bf16_support("cpu", cpu_flags(cpuinfo))
    assert found.supported is supported
    assert "bf16" in found.reason


def test_a_system_without_cpuinfo_has_no_flags(tmp_path):
    assert cpu_flags(tmp_path / "none") == frozenset()


def test_gpus_know_bf16_since_ampere():
    assert supports_bf16("NVIDIA A100-SXM4-80GB")
    assert not supports_bf16("Tesla T4")
    assert supports_bf16("NVIDIA Imaginary 9000")
