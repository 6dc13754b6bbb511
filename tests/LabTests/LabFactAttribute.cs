using Pollux.Lab.Machines;

namespace Pollux.Tests.Lab;

/// <summary>A test on real namespaces, FUSE, libvirt and QEMU; skipped with the reason where they cannot be had.</summary>
public sealed class LabFactAttribute : FactAttribute
{
    private static readonly Lazy<string?> MissingReason = new(LabRequirements.MissingReason);

    public LabFactAttribute() => Skip = MissingReason.Value;
}
