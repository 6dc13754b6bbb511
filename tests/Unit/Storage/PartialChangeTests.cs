using System.Diagnostics;
using System.Text;
using Pollux.DataPlane.Native;
using Pollux.DataPlane.Storage;

namespace Pollux.Tests.Unit.Storage;

/// <summary>A mutation that fails in the middle leaves nothing behind: what failed on the primary is not sent to the replica.</summary>
public sealed class PartialChangeTests
{
    [SmallDiskFact]
    public void An_allocation_that_runs_out_of_space_leaves_the_size_as_it_was()
    {
        using var disk = new SmallDisk();
        using var store = ObjectStore.Open(disk.Path);
        var file = Create(store, "f");
        Assert.Equal(0, store.Write(file, 0, new byte[10_000]));

        foreach (var flags in (uint[])[0, Libc.FallocateZeroRange])
        {
            var error = store.Apply(new Mutation(MutationKind.Allocate) { Object = file, Flags = flags, OffsetBytes = 4096, LengthBytes = 64 << 20 }, out _, out _);
            Assert.Equal(Errno.ENOSPC, error);
            Assert.Equal(0, store.GetAttributes(file, out var after));
            Assert.Equal(10_000, after.SizeBytes);
        }
    }

    [SmallDiskFact]
    public void Attributes_change_all_together_or_not_at_all()
    {
        using var disk = new SmallDisk();
        using var store = ObjectStore.Open(disk.Path);
        var file = Create(store, "f");
        Assert.Equal(0, store.Write(file, 0, new byte[100]));
        Assert.Equal(0, store.GetAttributes(file, out var before));

        // Larger than any file of this file system, so the last step fails.
        var error = store.Apply(new Mutation(MutationKind.SetAttributes)
        {
            Object = file, Mask = AttributeMask.Uid | AttributeMask.Mode | AttributeMask.Size, Uid = 77, Mode = 0x1FF, SizeBytes = long.MaxValue,
        }, out _, out _);

        Assert.Equal(Errno.EFBIG, error);
        Assert.Equal(0, store.GetAttributes(file, out var after));
        Assert.Equal((before.Uid, before.Mode, before.SizeBytes), (after.Uid, after.Mode, after.SizeBytes));
    }

    [SmallDiskFact]
    public void A_file_that_the_operator_has_locked_refuses_changes_and_is_no_fault()
    {
        using var disk = new SmallDisk();
        using var store = ObjectStore.Open(disk.Path);
        var file = Create(store, "f");
        SmallDisk.Run("chattr", "+i", disk.Path + "/f");

        foreach (var mask in (AttributeMask[])[AttributeMask.Mode, AttributeMask.Uid, AttributeMask.ModifyTime])
            Assert.Equal(Errno.EPERM, store.Apply(new Mutation(MutationKind.SetAttributes) { Object = file, Mask = mask, Uid = 3, ModifyTimeNs = 1 }, out _, out _));
        SmallDisk.Run("chattr", "-i", disk.Path + "/f");

        SmallDisk.Run("chattr", "+a", disk.Path);
        var create = new Mutation(MutationKind.CreateFile) { Object = ObjectStore.FirstFreeId + 1, Parent = 1, Name = "g"u8.ToArray(), Mode = 0x8000 | 0x1A4, ModifyTimeNs = 1 };
        Assert.Equal(0, store.Apply(create, out _, out _));
        SmallDisk.Run("chattr", "-a", disk.Path);
    }

    private static ulong Create(ObjectStore store, string name)
    {
        var create = new Mutation(MutationKind.CreateFile) { Object = ObjectStore.FirstFreeId, Parent = 1, Name = Encoding.UTF8.GetBytes(name), Mode = 0x8000 | 0x1A4 };
        Assert.Equal(0, store.Apply(create, out var attributes, out _));
        return attributes.Object;
    }

    private sealed class SmallDiskFactAttribute : FactAttribute
    {
        public SmallDiskFactAttribute()
        {
            if (Environment.UserName != "root")
                Skip = "needs root: a small file system is mounted";
            else if (!File.Exists("/dev/loop-control"))
                Skip = "needs loop devices";
        }
    }

    /// <summary>ext4 of 16 MiB: unlike tmpfs it does not take back what it allocated before it ran out of space.</summary>
    private sealed class SmallDisk : IDisposable
    {
        private readonly TemporaryDirectory _folder = new();

        public SmallDisk()
        {
            Path = System.IO.Path.Combine(_folder.Path, "mount");
            Directory.CreateDirectory(Path);
            Run("truncate", "-s", "16M", _folder.Path + "/image");
            Run("mkfs.ext4", "-q", "-m", "0", "-F", _folder.Path + "/image");
            Run("mount", "-o", "loop", _folder.Path + "/image", Path);
        }

        public string Path { get; }

        public void Dispose()
        {
            Run("umount", Path);
            _folder.Dispose();
        }

        public static void Run(string program, params string[] arguments)
        {
            using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardError = true })!;
            var said = process.StandardError.ReadToEnd();
            process.WaitForExit();
            Assert.True(process.ExitCode == 0, $"{program}: {said}");
        }
    }
}
