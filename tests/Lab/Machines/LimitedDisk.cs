namespace Pollux.Lab.Machines;

/// <summary>A host's module folder on a small file system of its own (ext4 in a loop device), so that a test can fill it, have it turn
/// read-only or fail. Mounted on the machine before the host starts; the host's own mounts bring it along.</summary>
public sealed class LimitedDisk
{
    private readonly string _image;
    private readonly string _mountPoint;

    private LimitedDisk(string image, string mountPoint) => (_image, _mountPoint) = (image, mountPoint);

    /// <summary>It has turned read-only or failed; <see cref="MendAsync"/> makes it whole.</summary>
    public bool IsBroken { get; private set; }

    private string BallastPath => Path.Combine(_mountPoint, "ballast");

    /// <summary>Makes and mounts the file system; the host has to be off.</summary>
    /// <param name="below">Null: it is the host's module folder; else a folder in that, on a file system of its own.</param>
    public static async Task<LimitedDisk> CreateAsync(LabHost host, long sizeBytes, string? below = null)
    {
        if (host.IsOn)
            throw new LabException($"A disk cannot be changed while {host.Name} is on.");
        var image = Path.Combine(host.Folder, below is null ? "vms.img" : $"vms-{below}.img");
        var mountPoint = Path.Combine(host.Folder, "vms", below ?? "");
        Directory.CreateDirectory(mountPoint);
        await using (var file = File.Create(image))
            file.SetLength(sizeBytes);
        // No blocks reserved for root: the lab's writers are root.
        await Shell.CheckAsync("mkfs.ext4", "-q", "-m", "0", "-F", image);
        var disk = new LimitedDisk(image, mountPoint);
        await disk.MountAsync();
        return disk;
    }

    /// <summary>What the kernel does when ext4 finds its own structures damaged: read-only from now on, whoever has files open.</summary>
    public async Task TurnReadOnlyAsync()
    {
        IsBroken = true;
        var device = (await Shell.CheckAsync("findmnt", "-no", "SOURCE", _mountPoint)).Output.Trim();
        await File.WriteAllTextAsync($"/sys/fs/ext4/{Path.GetFileName(device)}/trigger_fs_error", "a test of the lab");
    }

    /// <summary>A disk that fails: everything written and not flushed is lost, every call fails from now on.</summary>
    public async Task FailAsync()
    {
        IsBroken = true;
        await Shell.CheckAsync("xfs_io", "-x", "-c", "shutdown", _mountPoint);
    }

    /// <summary>What an administrator does: checks the file system and mounts it again. The host has to be off.</summary>
    public async Task MendAsync(LabHost host)
    {
        if (host.IsOn)
            throw new LabException($"A disk cannot be mended while {host.Name} is on.");
        await Shell.CheckAsync("umount", _mountPoint);
        // 1: errors were corrected.
        var check = await Shell.RunAsync(["e2fsck", "-fy", _image]);
        if (check.ExitCode > 1)
            throw new LabException($"e2fsck could not mend the disk of {host.Name}: {check.Said}");
        await MountAsync();
        IsBroken = false;
    }

    /// <summary>Takes all the room that is left, down to the last block.</summary>
    public async Task FillAsync()
    {
        // fallocate takes what it can in big steps; dd takes the rest and ends with "no space left", which is the aim.
        var free = new DriveInfo(_mountPoint).AvailableFreeSpace;
        await Shell.RunAsync(["fallocate", "-l", $"{Math.Max(4096, free - (1 << 20))}", BallastPath]);
        await Shell.RunAsync(["dd", "if=/dev/zero", $"of={BallastPath}", "bs=4096", "oflag=append", "conv=notrunc", "status=none"]);
    }

    public void Free() => File.Delete(BallastPath);

    /// <summary>On a loop device of its own: mount(8) would take the one that is there, and a broken file system lives on as long as anybody's
    /// mount namespace on this machine has a copy of its mount.</summary>
    private async Task MountAsync()
    {
        var device = (await Shell.CheckAsync("losetup", "--find", "--show", _image)).Output.Trim();
        await Shell.CheckAsync("mount", "-o", "errors=remount-ro", device, _mountPoint);
        // It goes with the last mount.
        await Shell.CheckAsync("losetup", "--detach", device);
    }
}
