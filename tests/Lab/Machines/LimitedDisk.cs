namespace Pollux.Lab.Machines;

/// <summary>A host's module folder on a small file system of its own (ext4 in a loop device), so that a test can fill it.
/// Mounted on the machine before the host starts; the host's own mounts bring it along.</summary>
public sealed class LimitedDisk
{
    private readonly string _ballastPath;

    private LimitedDisk(string mountPoint) => _ballastPath = Path.Combine(mountPoint, "ballast");

    /// <summary>Makes and mounts the file system; the host has to be off.</summary>
    public static async Task<LimitedDisk> CreateAsync(LabHost host, long sizeBytes)
    {
        if (host.IsOn)
            throw new LabException($"A disk cannot be changed while {host.Name} is on.");
        var image = Path.Combine(host.Folder, "vms.img");
        var mountPoint = Path.Combine(host.Folder, "vms");
        Directory.CreateDirectory(mountPoint);
        await using (var file = File.Create(image))
            file.SetLength(sizeBytes);
        // No blocks reserved for root: the lab's writers are root.
        await Shell.CheckAsync("mkfs.ext4", "-q", "-m", "0", "-F", image);
        await Shell.CheckAsync("mount", "-o", "loop", image, mountPoint);
        return new LimitedDisk(mountPoint);
    }

    /// <summary>Takes all the room that is left, down to the last block.</summary>
    public async Task FillAsync()
    {
        // fallocate takes what it can in big steps; dd takes the rest and ends with "no space left", which is the aim.
        var free = new DriveInfo(Path.GetDirectoryName(_ballastPath)!).AvailableFreeSpace;
        await Shell.RunAsync(["fallocate", "-l", $"{Math.Max(4096, free - (1 << 20))}", _ballastPath]);
        await Shell.RunAsync(["dd", "if=/dev/zero", $"of={_ballastPath}", "bs=4096", "oflag=append", "conv=notrunc", "status=none"]);
    }

    public void Free() => File.Delete(_ballastPath);
}
