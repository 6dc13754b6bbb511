using System.IO.MemoryMappedFiles;
using Pollux.DataPlane.Native;
using Pollux.Tests.Unit.Storage;

namespace Pollux.Tests.Unit.Volumes;

/// <summary>Every kind of change, through the kernel, on a primary whose file system has no room left: each either succeeds or fails with
/// ENOSPC, for which QEMU pauses a VM, and both copies end equal.</summary>
public sealed class FullMountTests
{
    private const int FullMb = 24;
    private const int MappedBytes = 4 << 20;

    /// <summary>Fails at some step in nearly every round; what fails is said on standard error.</summary>
    private const string Churn =
        """
        {
        for i in $(seq 40); do
          head -c $((i * 99991 % 3000000)) /dev/zero | tr '\0' a > f$i || true
          head -c $((i * 7919 % 200000)) /dev/zero | tr '\0' b >> f$((i / 2)) || true
          mkdir -p d$i/$(printf 'x%.0s' $(seq 200)) || true
          ln -s $(printf 'y%.0s' $(seq 900)) s$i || true
          setfattr -n user.large -v $(printf 'z%.0s' $(seq 1500)) f$i || true
          fallocate -o $((i * 4096)) -l 1000000 f$i || true
          dd if=/dev/urandom of=f$((i / 3)) bs=65536 seek=$i count=2 conv=notrunc,fsync status=none || true
          mv f$((i - 3)) d$((i - 1))/moved || true
          ln f$i d$((i - 1))/again || true
          truncate -s $((i * 1234567)) f$((i / 4)) || true
        done
        } 2>"$said"
        """;

    [Ext4Fact]
    public async Task On_a_full_disk_of_the_primary_everything_succeeds_or_fails_for_want_of_room_and_both_copies_are_equal()
    {
        using var disk = new LoopFileSystem("ext4", FullMb);
        await ChurnAsync(disk);
    }

    [BtrfsFact]
    public async Task Over_a_quota_of_the_primary_everything_succeeds_or_fails_for_want_of_room_and_both_copies_are_equal()
    {
        using var disk = new LoopFileSystem("btrfs");
        disk.LimitTo(FullMb << 20);
        await ChurnAsync(disk);
    }

    private static async Task ChurnAsync(LoopFileSystem disk)
    {
        await using var mount = await MirroredMount.CreateAsync(directory: Path.Combine(disk.Path, "module"));
        using (var sparse = File.Create(mount["mapped"]))
            sparse.SetLength(MappedBytes);
        using var outside = new TemporaryDirectory();
        mount.Shell($"said={outside.File("said")}; {Churn}");
        var said = File.ReadAllText(outside.File("said"));
        Assert.Contains("No space left on device", said);
        Assert.DoesNotMatch("Disk quota exceeded|Input/output error|Read-only file system|Structure needs cleaning", said);
        MapAndWrite(mount["mapped"]);
        // At its limit btrfs refuses even to delete.
        disk.LiftLimit();
        mount.Shell("rm -rf d* s* f1*; sync; head -c 1000000 /dev/urandom > enough; dd if=/dev/urandom of=enough bs=4096 seek=1000 count=5 conv=notrunc,fsync status=none");
        await mount.AssertEqualAtTheEndAsync();
    }

    /// <summary>Pages for which there may be no room when the kernel writes them back.</summary>
    private static void MapAndWrite(string path)
    {
        using var file = MemoryMappedFile.CreateFromFile(path, FileMode.Open);
        using var view = file.CreateViewAccessor();
        for (var offset = 0; offset < MappedBytes; offset += 4096)
            view.Write(offset, offset);
        try
        {
            view.Flush();
        }
        catch (IOException e) when (e.HResult == Errno.ENOSPC)
        {
            // msync(2) says so.
        }
    }
}
