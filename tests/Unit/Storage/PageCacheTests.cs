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
