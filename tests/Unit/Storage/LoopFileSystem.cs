using System.Diagnostics;

namespace Pollux.Tests.Unit.Storage;

/// <summary>A file system of a chosen type in a sparse file, mounted by a loop device.</summary>
internal sealed class LoopFileSystem : IDisposable
{
    private readonly TemporaryDirectory directory = new();
    private readonly string? room;
    private bool mounted;
    private bool limited;

    /// <param name="type">xfs, ext4 or btrfs.</param>
    /// <param name="sizeMb">mkfs.xfs makes none under 300 MB.</param>
    /// <param name="roomMb">Not null: what the file may take at most, see <see cref="TakeRoom"/>; ext4 without a journal, which would need some.</param>
    public LoopFileSystem(string type, int sizeMb = 320, int? roomMb = null)
    {
        if (roomMb is { } limitMb)
        {
            room = directory.Sub("room");
            Must("mount", "-t", "tmpfs", "-o", $"size={limitMb}m", "none", room);
        }
        var image = room is null ? directory.File("image") : System.IO.Path.Combine(room, "image");
        using (var file = File.Create(image))
            file.SetLength((long)sizeMb << 20);
        Must("mkfs." + type, type switch
        {
            "xfs" => ["-q", "-m", "reflink=1", image],
            "btrfs" => ["-q", image],
            _ => room is null ? ["-q", "-F", image] : ["-q", "-F", "-O", "^has_journal", image],
        });
        Path = directory.Sub("mount");
        Must("mount", "-o", type == "ext4" ? "loop,errors=remount-ro" : "loop", image, Path);
        mounted = true;
        // What mkfs puts there is no part of a module.
        if (Directory.Exists(System.IO.Path.Combine(Path, "lost+found")))
            Directory.Delete(System.IO.Path.Combine(Path, "lost+found"));
    }

    public string Path { get; }

    public long FreeBytes => new DriveInfo(Path).AvailableFreeSpace;

    /// <summary>What ext4 does after an error in its own structures: the kernel makes it read-only, whoever has files open.</summary>
    public void TurnReadOnly()
    {
        var device = System.IO.Path.GetFileName(Must("findmnt", "-no", "SOURCE", Path).Trim());
        File.WriteAllText($"/sys/fs/ext4/{device}/trigger_fs_error", "a test");
    }

    /// <summary>A quota of btrfs, which holds root too: beyond it every call that needs room gives EDQUOT.</summary>
    public void LimitTo(long bytes)
    {
        Must("btrfs", "quota", "enable", Path);
        Must("btrfs", "qgroup", "limit", bytes.ToString(System.Globalization.CultureInfo.InvariantCulture), Path);
        limited = true;
    }

    /// <summary>Ends <see cref="LimitTo"/>, if there is a limit.</summary>
    public void LiftLimit()
    {
        if (limited)
            Must("btrfs", "qgroup", "limit", "none", Path);
    }

    /// <summary>Blocks that were never written cannot be from now on: write-back of new content fails, whoever asks for it.</summary>
    public void TakeRoom()
    {
        using var filler = new FileStream(System.IO.Path.Combine(room!, "filler"), FileMode.CreateNew, FileAccess.Write, FileShare.None, bufferSize: 0);
        try
        {
            for (var page = new byte[4096]; ;)
                filler.Write(page);
        }
        catch (IOException)
        {
            // It is full, as it should be.
        }
    }

    /// <summary>Ends <see cref="TakeRoom"/>.</summary>
    public void GiveRoom() => File.Delete(System.IO.Path.Combine(room!, "filler"));

    /// <summary>As after a disk that fails for good: every call on an XFS gives EIO from now on.</summary>
    public void ShutDown() => Must("xfs_io", "-x", "-c", "shutdown", Path);

    public void Dispose()
    {
        if (mounted)
            _ = Run("umount", "-l", Path);
        mounted = false;
        if (room is not null)
            _ = Run("umount", "-l", room);
        directory.Dispose();
    }

    /// <returns>Null, or why it cannot be had here.</returns>
    public static string? Probe(string type)
    {
        if (Environment.UserName != "root")
            return "needs root: a file system is mounted";
        try
        {
            new LoopFileSystem(type).Dispose();
            return null;
        }
        catch (Exception e) when (e is IOException or System.ComponentModel.Win32Exception)
        {
            return $"{type} on a loop device is not to be had here: {e.Message}";
        }
    }

    private static string Must(string program, params string[] arguments)
    {
        var (code, said) = Run(program, arguments);
        return code == 0 ? said : throw new IOException($"{program}: {said}");
    }

    private static (int Code, string Said) Run(string program, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        var said = process.StandardOutput.ReadToEnd() + process.StandardError.ReadToEnd();
        process.WaitForExit();
        return (process.ExitCode, said);
    }
}

/// <summary>A test on an XFS with reflink.</summary>
internal sealed class XfsFactAttribute : FactAttribute
{
    private static readonly string? Reason = LoopFileSystem.Probe("xfs");

    public XfsFactAttribute() => Skip = Reason!;
}

/// <summary>A test on an ext4.</summary>
internal sealed class Ext4FactAttribute : FactAttribute
{
    private static readonly string? Reason = LoopFileSystem.Probe("ext4");

    public Ext4FactAttribute() => Skip = Reason!;
}

/// <summary>A test on a btrfs, with quotas.</summary>
internal sealed class BtrfsFactAttribute : FactAttribute
{
    private static readonly string? Reason = LoopFileSystem.Probe("btrfs");

    public BtrfsFactAttribute() => Skip = Reason!;
}
