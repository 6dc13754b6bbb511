namespace Pollux.DataPlane.Modules;

/// <summary>A VM that is paused although the role machine lets it run: by its hypervisor or by somebody beside Pollux.</summary>
/// <param name="Reason">The hypervisor's word, for example <c>I/O error</c> or <c>user</c>.</param>
/// <param name="DiskErrors">What the hypervisor says of the VM's disks, for example <c>vda: no space</c>; empty if nothing.</param>
/// <param name="Tries">Times it was resumed in vain.</param>
internal sealed record WorkloadHold(string Reason, string DiskErrors, int Tries)
{
    /// <summary>libvirt's word for a pause by QEMU's policy for failing disks (virsh domstate --reason).</summary>
    private const string IoErrorReason = "I/O error";

    /// <summary>QEMU has paused it because a disk did not take a write or gave no data: what failed is tried again when it is resumed, and nothing
    /// is lost meanwhile. Any other pause is somebody's wish, and not ended by Pollux.</summary>
    public bool IsIoError => Reason == IoErrorReason;

    /// <summary>For people.</summary>
    public string Text => IsIoError
        ? $"The hypervisor has paused the VM: {(DiskErrors.Length > 0 ? DiskErrors : "one of its disks gave an error")}."
        : $"The VM was paused, and not by Pollux (the hypervisor says: {Reason}).";
}
