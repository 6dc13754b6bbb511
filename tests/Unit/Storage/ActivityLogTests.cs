using Pollux.DataPlane.Core.Replication;
using Pollux.DataPlane.Storage;
using Pollux.Tests.Unit.Replication;

namespace Pollux.Tests.Unit.Storage;

public sealed class ActivityLogTests : IDisposable
{
    private const long MiB = 1 << 20;

    private static readonly ActivityLogOptions Small = new() { Slots = 128, RoomDeadline = TimeSpan.FromSeconds(20) };

    private readonly TemporaryDirectory directory = new();
    private readonly List<ActivityLog> opened = [];
    private readonly Room room = new();

    private string LogPath => directory.File("log");

    public void Dispose()
    {
        opened.ForEach(l => l.Dispose());
        directory.Dispose();
    }

    private ActivityLog New(ActivityLogOptions? options = null)
    {
        ActivityLog.Create(LogPath, options ?? Small);
        return Open(options)!;
    }

    private ActivityLog? Open(ActivityLogOptions? options = null) => Open(out _, options);

    private ActivityLog? Open(out string? damage, ActivityLogOptions? options = null)
    {
        var log = ActivityLog.Open(LogPath, room, options ?? Small, out damage);
        if (log is not null)
            opened.Add(log);
        return log;
    }

    private HashSet<ObjectRange> RecoverFrom(byte[] image, out string? damage)
    {
        File.WriteAllBytes(LogPath, image);
        using var log = ActivityLog.Open(LogPath, room, Small, out damage);
        return log?.Recover().ToHashSet() ?? [];
    }

    /// <summary>A log before and after one more write of its only group, where in the file it went, and what was active before.</summary>
    private (byte[] Before, byte[] After, int StartBytes, HashSet<ObjectRange> Promised) OneWrite()
    {
        var log = New();
        // Slots of several of the sector's pieces are in use, and change.
        for (var i = 0; i < 128; i++)
            log.EnsureActive(7, i * MiB, 1).Dispose();
        room.Leavable = range => range.Object == 7 && range.OffsetBytes % (10 * MiB) == 0;
        log.EnsureActive(8, 0, 7 * MiB).Dispose();
        var before = File.ReadAllBytes(LogPath);
        var promised = log.Recover().Where(range => range.Object == 8).ToHashSet();
        log.EnsureActive(8, 50 * MiB, 1).Dispose();
        var after = File.ReadAllBytes(LogPath);
        log.Dispose();
        return (before, after, Enumerable.Range(0, after.Length).First(i => after[i] != before[i]) / 4096 * 4096, promised);
    }

    /// <summary>Goes on with a torn log, tears the next write of the same copy in every complementary way, and looks again.</summary>
    private void RecoverFromTwice(byte[] torn, int start, HashSet<ObjectRange> promised)
    {
        File.WriteAllBytes(LogPath, torn);
        using (var log = ActivityLog.Open(LogPath, room, Small, out _)!)
            log.EnsureActive(9, 0, 1).Dispose();
        var second = File.ReadAllBytes(LogPath);
        foreach (var arrived in new[] { 0x01, 0x80, 0x55, 0xaa, 0x7f, 0xfe })
        {
            var again = torn.ToArray();
            for (var sector = 0; sector < 8; sector++)
            {
                if ((arrived >> sector & 1) != 0)
                    second.AsSpan(start + sector * 512, 512).CopyTo(again.AsSpan(start + sector * 512));
            }
            var recovered = RecoverFrom(again, out var damage);
            Assert.True(damage is null && promised.IsSubsetOf(recovered), $"torn again {arrived:b8}: {damage}");
        }
    }

    private static ObjectRange Extent(ulong obj, long index) => new(obj, index * MiB, MiB);

    [Fact]
    public void An_extent_is_on_disk_when_its_activation_returns()
    {
        var log = New();
        log.EnsureActive(7, 5 * MiB + 3, 10).Dispose();
        log.EnsureActive(7, 9 * MiB - 1, 2).Dispose();
        var image = File.ReadAllBytes(LogPath);
        log.Dispose();
        Assert.Equal([Extent(7, 5), Extent(7, 8), Extent(7, 9)], RecoverFrom(image, out var damage));
        Assert.Null(damage);
    }

    [Fact]
    public void Extents_stay_active_over_a_restart_and_cost_no_write_then()
    {
        New().EnsureActive(7, 0, 1).Dispose();
        opened[^1].Dispose();
        var log = Open()!;
        var before = File.ReadAllBytes(LogPath);
        log.EnsureActive(7, 100, 1).Dispose();
        Assert.Equal(before, File.ReadAllBytes(LogPath));
    }

    [Fact]
    public void A_long_range_takes_one_slot_for_the_whole_object()
    {
        var log = New();
        log.EnsureActive(7, 0, 65 * MiB).Dispose();
        log.EnsureActive(8, 5, long.MaxValue - 10).Dispose();
        Assert.Equal([ObjectRange.Whole(7), ObjectRange.Whole(8)], log.Recover().OrderBy(r => r.Object));
        log.EnsureActive(9, 0, 64 * MiB).Dispose();
        Assert.Equal(66, log.ActiveExtents);
    }

    [Fact]
    public void A_torn_write_of_any_sectors_loses_no_extent_that_was_active_before()
    {
        var (before, after, start, promised) = OneWrite();
        // Whatever of the eight sectors of 512 bytes has reached the disk, in whatever order.
        for (var arrived = 0; arrived < 256; arrived++)
        {
            var torn = before.ToArray();
            for (var sector = 0; sector < 8; sector++)
            {
                if ((arrived >> sector & 1) != 0)
                    after.AsSpan(start + sector * 512, 512).CopyTo(torn.AsSpan(start + sector * 512));
            }
            var recovered = RecoverFrom(torn, out var damage);
            Assert.True(damage is null && promised.IsSubsetOf(recovered), $"sectors {arrived:b8}: {damage}");
            // A second attempt that is torn too does not complete the first to something that was never promised.
            RecoverFromTwice(torn, start, promised);
        }
    }

    [Fact]
    public void A_write_cut_off_at_any_byte_is_recovered_or_damage_never_less_than_was_promised()
    {
        var (before, after, start, promised) = OneWrite();
        for (var cut = 0; cut <= 4096; cut++)
        {
            var torn = before.ToArray();
            after.AsSpan(start, cut).CopyTo(torn.AsSpan(start));
            var recovered = RecoverFrom(torn, out var damage);
            Assert.True(damage is not null || promised.IsSubsetOf(recovered), $"cut off after {cut} bytes");
        }
    }

    [Fact]
    public void A_flipped_bit_in_any_byte_is_damage_in_the_newest_copy_and_in_the_other()
    {
        var (_, image, _, _) = OneWrite();
        for (var at = 0; at < image.Length; at++)
        {
            var bad = image.ToArray();
            bad[at] ^= (byte)(1 << at % 8);
            RecoverFrom(bad, out var damage);
            Assert.True(damage is not null, $"byte {at}");
        }
    }

    [Fact]
    public void A_truncated_or_extended_file_is_damage_and_never_an_empty_log()
    {
        var (_, image, _, _) = OneWrite();
        for (var length = 0; length < image.Length; length++)
        {
            RecoverFrom(image[..length], out var damage);
            Assert.True(damage is not null, $"length {length}");
        }
        RecoverFrom([.. image, 0], out var longer);
        Assert.NotNull(longer);
    }

    [Fact]
    public void Sectors_in_the_wrong_place_and_copies_that_do_not_belong_together_are_damage()
    {
        var options = Small with { Slots = 256 };
        New(options).Dispose();
        var image = File.ReadAllBytes(LogPath);
        foreach (var (from, to) in new[] { (1, 2), (2, 1), (1, 3), (3, 1), (4, 2), (0, 1) })
        {
            var bad = image.ToArray();
            image.AsSpan(from * 4096, 4096).CopyTo(bad.AsSpan(to * 4096));
            File.WriteAllBytes(LogPath, bad);
            Assert.Null(Open(out var damage, options));
            Assert.NotNull(damage);
        }
        // Torn, and the torn write older than the other copy: no crash does that.
        var sectors = new byte[2][];
        for (var copy = 0; copy < 2; copy++)
            ActivityLogSector.Seal(sectors[copy] = new byte[4096], 0, copy, copy == 0 ? 3ul : 9ul);
        var older = new byte[4096];
        ActivityLogSector.Seal(older, 0, 0, 5);
        older.AsSpan(512, 512).CopyTo(sectors[0].AsSpan(512));
        Assert.NotNull(ActivityLogSector.Choose(sectors[0], sectors[1], 0, out _, out _));
    }

    [Fact]
    public void A_missing_log_is_damage()
    {
        Assert.Null(Open(out var damage));
        Assert.Contains("no activity log", damage);
    }

    [Fact]
    public void A_log_of_a_newer_version_is_refused_and_left_alone()
    {
        New().Dispose();
        var image = File.ReadAllBytes(LogPath);
        image[8] = 3;
        BitConverter.TryWriteBytes(image.AsSpan(4092), DataPlane.Core.Crc32C.Compute(image.AsSpan(0, 4092)));
        File.WriteAllBytes(LogPath, image);
        Assert.Equal(StorageFault.NewerVersion, Assert.Throws<StorageException>(() => Open()).Fault);
        Assert.Equal(image, File.ReadAllBytes(LogPath));
    }

    [Fact]
    public void A_full_log_lets_go_only_what_may_leave()
    {
        var log = New();
        for (var i = 0; i < 128; i++)
            log.EnsureActive(1, i * MiB, 1).Dispose();
        room.Leavable = r => r.OffsetBytes is >= 10 * (1 << 20) and < 20 * (1 << 20);
        for (var i = 0; i < 10; i++)
            log.EnsureActive(2, i * MiB, 1).Dispose();
        Assert.Equal(0, room.Asked);
        Assert.Equal([.. Enumerable.Range(0, 128).Where(i => i is < 10 or >= 20).Select(i => Extent(1, i)), .. Enumerable.Range(0, 10).Select(i => Extent(2, i))],
            log.Recover().OrderBy(r => r.Object).ThenBy(r => r.OffsetBytes));
        log.Dispose();
        using var again = ActivityLog.Open(LogPath, room, Small, out _)!;
        Assert.Subset(again.Recover().ToHashSet(), Enumerable.Range(0, 10).Select(i => Extent(2, i)).ToHashSet());
    }

    [Fact]
    public void A_log_full_of_marked_extents_asks_for_room_and_goes_on_when_there_is_some()
    {
        var log = New();
        for (var i = 0; i < 128; i++)
            log.EnsureActive(1, i * MiB, 1).Dispose();
        room.OnMakeRoom = () =>
        {
            Assert.Equal("room in the activity log", log.WaitingFor);
            room.Leavable = _ => true;
        };
        log.EnsureActive(2, 0, 1).Dispose();
        Assert.Equal(1, room.Asked);
        Assert.Null(log.WaitingFor);
    }

    [Fact]
    public void Without_room_an_activation_fails_at_its_deadline_with_the_reason()
    {
        var options = Small with { RoomDeadline = TimeSpan.FromMilliseconds(30) };
        var log = New(options);
        for (var i = 0; i < 128; i++)
            log.EnsureActive(1, i * MiB, 1).Dispose();
        var e = Assert.Throws<StorageException>(() => log.EnsureActive(2, 0, 1));
        Assert.Equal(StorageFault.ActivityLogFull, e.Fault);
        log.EnsureActive(1, 0, 1).Dispose();
    }

    [Fact]
    public void A_pinned_extent_stays_even_if_it_may_leave()
    {
        var log = New();
        room.Leavable = _ => true;
        var pin = log.EnsureActive(1, 0, 1);
        for (var i = 1; i < 300; i++)
            log.EnsureActive(1, i * MiB, 1).Dispose();
        Assert.Contains(Extent(1, 0), log.Recover());
        pin.Dispose();
        for (var i = 300; i < 600; i++)
            log.EnsureActive(1, i * MiB, 1).Dispose();
        Assert.DoesNotContain(Extent(1, 0), log.Recover());
    }

    [Fact]
    public void Activating_what_is_active_allocates_nothing()
    {
        var log = New();
        log.EnsureActive(1, 0, 2 * MiB).Dispose();
        log.EnsureActive(1, 0, 2 * MiB).Dispose();
        var before = GC.GetAllocatedBytesForCurrentThread();
        for (var i = 0; i < 1000; i++)
            log.EnsureActive(1, 4096, MiB + 5).Dispose();
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);
    }

    [Fact]
    public void Whatever_threads_do_a_pinned_extent_is_always_on_disk()
    {
        const ulong Seed = 99;
        var log = New();
        room.Leavable = _ => true;
        using var start = new Barrier(6);
        var threads = Enumerable.Range(0, 6).Select(t => new Thread(() =>
        {
            var random = new SeededRandom(Seed + (ulong)t);
            start.SignalAndWait();
            for (var round = 0; round < 60; round++)
            {
                var extent = random.Below(200);
                using var pin = log.EnsureActive(5, extent * MiB, 1);
                if (round % 10 != 0)
                    continue;
                var copy = directory.File($"copy{t}");
                File.WriteAllBytes(copy, File.ReadAllBytes(LogPath));
                using var crashed = ActivityLog.Open(copy, room, Small, out var damage);
                Assert.True(crashed is not null && crashed.Recover().Contains(Extent(5, extent)), $"seed {Seed}, thread {t}, round {round}: {damage}");
            }
        })).ToList();
        threads.ForEach(t => t.Start());
        threads.ForEach(t => t.Join());
    }

    private sealed class Room : IActivityLogRoom
    {
        public Func<ObjectRange, bool> Leavable { get; set; } = _ => false;
        public Action OnMakeRoom { get; set; } = () => { };
        public int Asked { get; private set; }

        public bool MayLeave(in ObjectRange extent) => Leavable(extent);

        public void MakeRoom()
        {
            Asked++;
            OnMakeRoom();
        }
    }
}
