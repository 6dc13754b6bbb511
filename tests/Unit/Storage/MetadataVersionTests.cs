using System.Text;
using System.Text.Json;
using Pollux.DataPlane.Control;
using Pollux.DataPlane.Core.Replication;
using Pollux.DataPlane.Core.Roles;
using Pollux.DataPlane.Replication;
using Pollux.DataPlane.Storage;
using Pollux.Tests.Unit.Replication;

namespace Pollux.Tests.Unit.Storage;

/// <summary>Files that hosts have on their disks: every version that there ever was is kept in Golden/ and reads to the same today. Who
/// changes a format raises its version, keeps reading the older ones, and adds a file: POLLUX_WRITE_GOLDEN=DIR writes those of now.</summary>
public sealed class MetadataVersionTests : IDisposable
{
    private const ulong Id = 1UL << 32;

    private const int Slots = ActivityLogImage.SlotsPerGroup;

    private static readonly ObjectRange[] Ranges = [new(Id | 5, 65536, 131072), ObjectRange.Whole(Id | 6)];
    private static readonly ObjectRange[] Extents = [new(7, 0, 1 << 20), new(7, 5 << 20, 1 << 20), ObjectRange.Whole(8)];

    private static readonly ResyncClaim Claim = new(ResyncPart.Source, Guid.Parse("33333333-2222-3333-4444-555555555555"));

    private static readonly LocalState State = new(
        new(Guid.Parse("11111111-2222-3333-4444-555555555555"), 42, "c1/a", ["c1/a", "c1/b"]), DataState.UpToDate,
        Guid.Parse("22222222-2222-3333-4444-555555555555"), Guid.Empty, Run: true) { LostPower = true };

    private readonly TemporaryDirectory directory = new();

    public void Dispose() => directory.Dispose();

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void The_activity_log_of_every_version_gives_its_extents_and_is_of_the_newest_version_afterwards(int version)
    {
        Take("dirty", CheckpointImage.Version);
        var path = Take("activity-log", version);
        for (var time = 0; time < 2; time++)
        {
            Assert.Equal([.. Ranges, .. Extents], Open(ResyncPart.Source).Ranges);
            Assert.Equal(ActivityLogImage.Version, File.ReadAllBytes(path)[8]);
        }
    }

    [Fact]
    public void The_migration_of_an_activity_log_trusts_no_damaged_copy()
    {
        // One checksum for all of a sector: torn and damaged look alike in version 1.
        var image = File.ReadAllBytes(Golden("activity-log.v1"));
        for (var at = 0; at < image.Length; at++)
        {
            var bad = image.ToArray();
            bad[at] ^= (byte)(1 << at % 8);
            Assert.True(ActivityLogImage.Read(bad, out var damage, out var newer) is null && (damage is not null || newer > 0), $"byte {at}");
        }
    }

    [Fact]
    public void A_crash_while_an_activity_log_is_migrated_leaves_the_older_or_the_newer()
    {
        Take("dirty", CheckpointImage.Version);
        var path = Take("activity-log", 1);
        Open(ResyncPart.Source);
        var newer = File.ReadAllBytes(path);
        foreach (var written in Enumerable.Range(0, newer.Length / 512 + 1))
        {
            Take("activity-log", 1);
            // The replacement is beside the file until it is complete.
            File.WriteAllBytes(path + ".new", newer[..(written * 512)]);
            Assert.Equal(Ranges.Length + Extents.Length, Open(ResyncPart.Source).Ranges.Count);
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void The_checkpoint_of_every_version_gives_its_ranges(int version)
    {
        Take("activity-log", ActivityLogImage.Version);
        Take("dirty", version);
        var opened = Open(ResyncPart.Source);
        Assert.False(opened.EverythingMayDiffer);
        Assert.Equal(Ranges, opened.CheckpointRanges);
        Assert.Equal(version == 1 ? ResyncClaim.None : Claim, opened.Claim);
    }

    [Theory]
    [InlineData("activity-log")]
    [InlineData("dirty")]
    public void Marks_of_a_newer_version_are_refused_and_left_alone(string name)
    {
        Take("dirty", CheckpointImage.Version);
        Take("activity-log", ActivityLogImage.Version);
        var path = directory.File(name);
        var image = File.ReadAllBytes(path);
        image[8]++;
        // The checksum of the log's header ends its first sector, the checkpoint's ends the file.
        var covered = (name == "dirty" ? image.Length : ActivityLogImage.SectorBytes) - 4;
        BitConverter.TryWriteBytes(image.AsSpan(covered), DataPlane.Core.Crc32C.Compute(image.AsSpan(0, covered)));
        File.WriteAllBytes(path, image);
        var before = Contents();
        var refusal = Assert.Throws<StorageException>(() => MarkFiles.Open(directory.Path, Slots, ResyncPart.Source));
        Assert.Equal(StorageFault.NewerVersion, refusal.Fault);
        Assert.Contains("Install the newer one again", refusal.Message);
        Assert.Equal(before, Contents());

        (string?, string)[] Contents() =>
            [.. Directory.EnumerateFiles(directory.Path).Order().Select(file => (Path.GetFileName(file), Convert.ToHexString(File.ReadAllBytes(file))))];
    }

    [Theory]
    [InlineData(1)]
    public void The_state_of_every_version_reads_equal(int version) =>
        Assert.Equal(new(State, Existed: true, null), new ModuleStateFile(Take("state", version)).Load());

    [Theory]
    [InlineData("desired.json")]
    [InlineData("desired")]
    public void The_desired_state_of_every_version_is_read_and_the_next_store_leaves_one_file(string name)
    {
        File.Copy(Golden(name == "desired" ? "desired.v1" : "desired.v0"), directory.File(name));
        var cache = new DesiredStateCache(directory.Path);
        var desired = cache.Load()!;
        Assert.Equal((6L, "demo/beta", "demo/bench"), (desired.Version, desired.Peer!.Host, desired.Modules[0].Module));
        cache.Save(desired with { Version = 7 });
        Assert.Equal(["desired"], Directory.EnumerateFiles(directory.Path).Select(f => Path.GetFileName(f)));
        Assert.Equal(7, new DesiredStateCache(directory.Path).Load()!.Version);
    }

    [Fact]
    public void The_desired_state_is_not_believed_when_any_byte_is_hit_and_a_newer_one_is_not_guessed_at()
    {
        var image = File.ReadAllBytes(Golden("desired.v1"));
        for (var length = 0; length < image.Length; length++)
            Check(image[..length]);
        for (var at = 0; at < image.Length; at++)
        {
            var bad = image.ToArray();
            bad[at] ^= (byte)(1 << at % 8);
            Check(bad);
        }
        var newer = new SealedFile(directory.File("desired"), "PLXDESI\0", 2, "It", 1 << 20);
        newer.Save("{}"u8);
        Assert.Null(new DesiredStateCache(directory.Path).Load());

        void Check(byte[] bad)
        {
            File.WriteAllBytes(directory.File("desired"), bad);
            Assert.Null(new DesiredStateCache(directory.Path).Load());
        }
    }

    [Fact]
    public void What_is_written_now_is_what_the_newest_golden_file_holds()
    {
        // Where bytes may differ without a new version (JSON grows by members that older readers ignore) only the layout is compared.
        foreach (var (name, content, whole) in Now())
        {
            if (Environment.GetEnvironmentVariable("POLLUX_WRITE_GOLDEN") is { } target)
                File.WriteAllBytes(Path.Combine(target, name), content);
            Assert.True(File.Exists(Golden(name)), $"The version of a durable file was raised without a golden file: {name}. Write it with POLLUX_WRITE_GOLDEN, add it to a theory above, and migrate the older one.");
            var golden = File.ReadAllBytes(Golden(name));
            var compared = whole ? content.Length : 12;
            Assert.True(golden.AsSpan(0, Math.Min(compared, golden.Length)).SequenceEqual(content.AsSpan(0, compared)), $"The format of {name} has changed: raise its version.");
        }
    }

    private IEnumerable<(string Name, byte[] Content, bool Whole)> Now()
    {
        var path = directory.File("now");
        var folder = directory.Sub("marks");
        using (var marks = new MarksOnDisk(folder, Slots))
        {
            Assert.True(marks.Activate(0, 7, 0, 1) && marks.Activate(1, 7, 5 << 20, 1) && marks.Activate(2, 8, 0, 100L << 20));
        }
        yield return ($"activity-log.v{ActivityLogImage.Version}", File.ReadAllBytes(Path.Combine(folder, "activity-log")), true);
        yield return ($"dirty.v{CheckpointImage.Version}", CheckpointImage.Write(Ranges, everythingMayDiffer: false, Claim), true);
        new ModuleStateFile(path).Save(State);
        yield return ($"state.v{ModuleStateFile.Version}", File.ReadAllBytes(path), false);
        var desired = JsonDocument.Parse(File.ReadAllBytes(Golden("desired.v0")));
        new SealedFile(path, "PLXDESI\0", 1, "It", 1 << 20).Save(Encoding.UTF8.GetBytes(desired.RootElement.GetRawText()));
        yield return ("desired.v1", File.ReadAllBytes(path), true);
    }

    private string Take(string name, int version)
    {
        var path = directory.File(name);
        File.Copy(Golden($"{name}.v{version}"), path, overwrite: true);
        return path;
    }

    private static string Golden(string name) => Path.Combine(AppContext.BaseDirectory, "Storage", "Golden", name);

    private RecoveredMarks Open(ResyncPart part)
    {
        var (files, marks) = MarkFiles.Open(directory.Path, Slots, part);
        files.Dispose();
        Assert.Null(marks.Damage);
        return marks;
    }
}
