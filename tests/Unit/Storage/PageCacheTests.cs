using Pollux.DataPlane.Core.Replication;
using Pollux.DataPlane.Native;
using Pollux.DataPlane.Storage;

namespace Pollux.Tests.Unit.Storage;

public sealed unsafe class PageCacheTests : IDisposable
{
    private readonly TemporaryDirectory directory = new();

    public void Dispose() => directory.Dispose();

    [StorageFact]
    public void Clean_pages_of_all_files_leave_the_memory_and_what_is_written_stays()
    {
        using var s = new StoreDriver(ObjectStore.Open(directory.Path));
        var files = Enumerable.Range(0, 5).Select(i => s.File(StoreDriver.Root, $"f{i}", new string((char)('a' + i), 300_000))).ToArray();
        Assert.Equal(0, s.Store.FlushAll());
        Assert.All(Enumerable.Range(0, 5), i => Assert.True(CachedPages($"f{i}") > 0));
        s.Write(files[0], 100, "dirty");

        Assert.Equal(0, s.Store.DropCache());

        // The page with the new bytes is dirty, or is being written by now.
        Assert.InRange(CachedPages("f0"), 0, 512);
        Assert.All(Enumerable.Range(1, 4), i => Assert.Equal(0, CachedPages($"f{i}")));
        Assert.Equal(new string('a', 100) + "dirty" + new string('a', 300_000 - 105), Content(s, files[0]));
        for (var i = 1; i < 5; i++)
            Assert.Equal(new string((char)('a' + i), 300_000), Content(s, files[i]));
    }

    [Ext4Fact]
    public void The_opening_after_a_fault_hears_all_failures_of_write_back_at_once()
    {
        using var disk = new LoopFileSystem("ext4", sizeMb: 64, roomMb: 24);
        ulong[] files;
        using (var before = new StoreDriver(ObjectStore.Open(disk.Path)))
        {
            files = [.. Enumerable.Range(0, 3).Select(i => before.File(StoreDriver.Root, $"f{i}", new string('a', 65_536)))];
            Assert.Equal(0, before.Store.FlushAll());
            Assert.All(files, file => before.Write(file, 65_536, new string('b', 1 << 20)));
            disk.TakeRoom();
            // The fault: everything is asked for, and one error is told. The files have theirs still to tell.
            Assert.NotEqual(0, before.Store.FlushAll());
        }
        disk.GiveRoom();
        using (var opened = new StoreDriver(ObjectStore.Open(disk.Path)))
            Assert.NotEqual(0, opened.Store.DropCache());
        using var after = new StoreDriver(ObjectStore.Open(disk.Path));
        Assert.Equal(0, after.Store.DropCache());
        Assert.All(files, file => Assert.Equal(0, after.Store.Flush(file, dataOnly: true)));
        Assert.Equal(0, after.Store.FlushAll());
    }

    [Fact]
    public void A_process_and_a_fault_call_for_dropping_and_nothing_else_does()
    {
        var trust = new CacheTrust();
        Assert.True(trust.MustDrop);
        trust.Dropped();
        Assert.False(trust.MustDrop);
        trust.Fault();
        Assert.True(trust.MustDrop);
    }

    private static string Content(StoreDriver s, ulong file)
    {
        var content = new byte[400_000];
        Assert.Equal(0, s.Store.Read(file, 0, content, out var count));
        return System.Text.Encoding.ASCII.GetString(content, 0, count);
    }

    private long CachedPages(string name)
    {
        using var file = File.OpenHandle(Path.Combine(directory.Path, name));
        CacheRange everything = default;
        CacheCounts counts = default;
        Assert.Equal(0, Libc.CacheStat((int)file.DangerousGetHandle(), &everything, &counts));
        return (long)counts.Cached;
    }
}
