using Pollux.DataPlane.Native;
using Pollux.DataPlane.Storage;
using Pollux.Tests.Unit.Replication;
using static Pollux.Tests.Unit.Storage.StoreDriver;

namespace Pollux.Tests.Unit.Storage;

public sealed class ManifestTests : IDisposable
{
    private readonly TemporaryDirectory directory = new();
    private readonly List<StoreDriver> opened = [];

    private StoreDriver Open(string name)
    {
        var driver = new StoreDriver(ObjectStore.Open(directory.Sub(name)));
        opened.Add(driver);
        return driver;
    }

    public void Dispose()
    {
        opened.ForEach(d => d.Dispose());
        directory.Dispose();
    }

    private static IReadOnlyList<ManifestEntry> OverTheWire(IReadOnlyList<ManifestEntry> entries)
    {
        var reader = new ManifestReader();
        foreach (var chunk in ManifestWriter.Write(entries))
        {
            Assert.InRange(chunk.Length, 1, ManifestWriter.ChunkBytesMax);
            reader.Append(chunk.Span);
        }
        return reader.Entries;
    }

    private static IReadOnlyList<ulong> Send(StoreDriver source, StoreDriver target) =>
        ManifestApplier.Apply(target.Store, OverTheWire(Manifest.Snapshot(source.Store)));

    /// <summary>One line for each object, everything but its content.</summary>
    private static List<string> Lines(StoreDriver s) => [.. Manifest.Snapshot(s.Store).OrderBy(e => e.Object).Select(e =>
        $"{e.Object:x} {e.Mode:x} {e.Uid} {e.Gid} {e.DeviceNumber:x} {e.SizeBytes} {e.ModifyTimeNs} "
        + string.Join(",", e.Links.Select(l => $"{l.Parent:x}/{Convert.ToHexString(l.Name)}").Order()) + " " + Convert.ToHexString(e.SymlinkTarget) + " "
        + string.Join(",", e.Xattrs.Select(x => $"{Convert.ToHexString(x.Name)}={Convert.ToHexString(x.Value)}").Order()))];

    private static void Fill(StoreDriver s)
    {
        var vm = s.Directory(Root, "vm", 0x1C0);
        var disk = s.File(vm, "disk.img", "disk content", 0x180);
        Assert.Equal(0, s.SetXattr(disk, "user.origin", "template"));
        Assert.Equal(0, s.Link(disk, Root, "disk-link"));
        s.Symlink(Root, "current", "vm/disk.img");
        s.Make(new(MutationKind.MakeNode) { Mode = StMode.Pipe | 0x1B6, Uid = 3 }, vm, "pipe");
        s.Make(new(MutationKind.MakeNode) { Mode = StMode.CharacterDevice | 0x1B6, DeviceNumber = 0x0103 }, vm, "null");
        s.File(Root, "empty");
        Assert.Equal(0, s.Try(new(MutationKind.SetAttributes) { Object = disk, Mask = AttributeMask.ModifyTime | AttributeMask.Uid, ModifyTimeNs = 1_234_567_890, Uid = 64055 }));
    }

    [StorageFact]
    public void An_empty_target_becomes_equal_and_asks_for_the_content_of_every_file_that_has_some()
    {
        var (source, target) = (Open("a"), Open("b"));
        Fill(source);
        var needed = Send(source, target);
        Assert.Equal(Lines(source), Lines(target));
        Assert.Equal([source.Lookup(Root, "disk-link")], needed);
        Assert.Equal(12, target.Attributes(needed[0]).SizeBytes);
    }

    [StorageFact]
    public void What_is_equal_already_keeps_its_content_and_asks_for_nothing()
    {
        var (source, target) = (Open("a"), Open("b"));
        Fill(source);
        var disk = Assert.Single(Send(source, target));
        target.Write(disk, 0, "disk content");
        ManifestApplier.ContentArrived(target.Store);
        Assert.Empty(Send(source, target));
        Assert.Equal("disk content", target.Read(disk));
    }

    [StorageFact]
    public void A_new_file_asks_for_its_content_until_it_has_arrived_also_after_a_restart()
    {
        var (source, target) = (Open("a"), Open("b"));
        Fill(source);
        var disk = Assert.Single(Send(source, target));
        target.Dispose();
        target = Open("b");
        Assert.Equal([disk], Send(source, target));
        ManifestApplier.ContentArrived(target.Store);
        target.Dispose();
        Assert.Empty(Send(source, Open("b")));
    }

    [StorageFact]
    public void Objects_that_the_manifest_does_not_list_go_and_foreign_ones_too()
    {
        var (source, target) = (Open("a"), Open("b"));
        Fill(source);
        var deep = target.Directory(target.Directory(target.Directory(Root, "old"), "older"), "oldest");
        var shared = target.File(deep, "f", "x");
        Assert.Equal(0, target.Link(shared, Root, "g"));
        Assert.Equal(0, target.Unlink(deep, "f"));
        target.Dispose();
        Directory.CreateDirectory(directory.File("b/foreign/sub"));
        File.WriteAllText(directory.File("b/foreign/sub/f"), "without id");
        target = Open("b");
        Send(source, target);
        Assert.Equal(Lines(source), Lines(target));
        Assert.Empty(Directory.GetFileSystemEntries(directory.File("b/.pollux/stage")));
        Assert.Empty(Directory.GetFileSystemEntries(directory.File("b/.pollux/unlinked")));
    }

    [StorageFact]
    public void Cycles_of_names_and_directories_that_change_places_lose_nothing()
    {
        var (source, target) = (Open("a"), Open("b"));
        var (a, b, c) = (source.File(Root, "a", "A"), source.File(Root, "b", "B"), source.File(Root, "c", "C"));
        var outer = source.Directory(Root, "outer");
        var inner = source.Directory(outer, "inner");
        var kept = source.File(inner, "kept", "K");
        foreach (var id in Send(source, target))
            target.Write(id, 0, source.Read(id));
        ManifestApplier.ContentArrived(target.Store);

        Assert.Equal(0, source.Rename(Root, "a", Root, "t"));
        Assert.Equal(0, source.Rename(Root, "c", Root, "a"));
        Assert.Equal(0, source.Rename(Root, "b", Root, "c"));
        Assert.Equal(0, source.Rename(Root, "t", Root, "b"));
        Assert.Equal(0, source.Rename(outer, "inner", Root, "inner"));
        Assert.Equal(0, source.Rename(Root, "outer", inner, "outer"));
        Assert.Equal(0, source.Link(kept, Root, "second"));
        Assert.Equal(0, source.Unlink(inner, "kept"));

        Assert.Empty(Send(source, target));
        Assert.Equal(Lines(source), Lines(target));
        Assert.Equal(("A", "B", "C", "K"), (target.Read(a), target.Read(b), target.Read(c), target.Read(kept)));
        Assert.Equal("A", File.ReadAllText(directory.File("b/b")));
        Assert.Equal("K", File.ReadAllText(directory.File("b/second")));
    }

    [StorageFact]
    public void An_object_of_another_type_or_target_under_the_same_id_is_replaced()
    {
        var (source, target) = (Open("a"), Open("b"));
        const ulong X = 5UL << 32, Y = X + 1, Z = X + 2;
        Create(source, MutationKind.CreateFile, X, "x");
        Create(source, MutationKind.MakeDirectory, Y, "y");
        Create(source, MutationKind.Symlink, Z, "z", "here");
        source.Write(X, 0, "content");
        Create(target, MutationKind.MakeDirectory, X, "x");
        Create(target, MutationKind.CreateFile, Y, "y");
        Create(target, MutationKind.Symlink, Z, "z", "there");
        Assert.Equal(0, target.Try(new(MutationKind.CreateFile) { Object = Z + 1, Parent = X, Name = Bytes("inside") }));
        Assert.Equal([X], Send(source, target));
        Assert.Equal(Lines(source), Lines(target));

        static void Create(StoreDriver s, MutationKind kind, ulong id, string name, string data = "") =>
            Assert.Equal(0, s.Try(new(kind) { Object = id, Parent = Root, Name = Bytes(name), Data = Bytes(data), Mode = 0x1ED }));
    }

    [StorageFact]
    public void Unlinked_objects_in_use_exist_on_the_target_too_and_can_be_released_there()
    {
        var (source, target) = (Open("a"), Open("b"));
        var (temporary, named) = (source.File(Root, "tmp", "temporary"), source.File(Root, "named", "n"));
        Send(source, target);
        Assert.Equal(0, source.Unlink(Root, "tmp"));
        Assert.Equal(0, source.Unlink(Root, "named"));
        Send(source, target);
        Assert.Equal(Lines(source), Lines(target));
        target.Write(temporary, 0, "t");
        Assert.Equal(0u, target.Attributes(temporary).Links);
        foreach (var s in new[] { source, target })
        {
            Assert.Equal(0, s.Release(temporary));
            Assert.Equal(0, s.Link(named, Root, "again"));
        }
        Send(source, target);
        Assert.Equal(Lines(source), Lines(target));
    }

    [StorageFact]
    public void A_manifest_that_is_no_tree_is_refused_and_changes_nothing()
    {
        var (source, target) = (Open("a"), Open("b"));
        Fill(target);
        var before = Lines(target);
        var d = source.Directory(Root, "d");
        var e = source.Directory(d, "e");
        source.File(e, "f", "x");
        var good = Manifest.Snapshot(source.Store);
        ManifestEntry Entry(ulong id) => good.Single(x => x.Object == id);
        List<ManifestEntry> With(ulong id, Func<ManifestEntry, ManifestEntry> change) => [.. good.Select(x => x.Object == id ? change(x) : x)];
        var f = source.Lookup(e, "f");
        List<List<ManifestEntry>> bad =
        [
            [.. good.Where(x => x.Object != Root)],
            [.. good, Entry(f)],
            [.. good.Where(x => x.Object != e)],
            With(d, x => x with { Links = [new(e, Bytes("d"))] }),
            With(f, x => x with { Links = [new(f, Bytes("f"))] }),
            With(f, x => x with { Links = [new(d, Bytes("e"))] }),
            With(f, x => x with { Links = [new(d, Bytes("../../etc"))] }),
            With(f, x => x with { Links = [new(Root, Bytes(".pollux"))] }),
            With(f, x => x with { Mode = 0x1FF }),
            With(f, x => x with { SizeBytes = -1 }),
            With(e, x => x with { Links = [new(d, Bytes("e")), new(Root, Bytes("e"))] }),
            [.. good, Entry(f) with { Object = 3, Links = [] }],
        ];
        foreach (var manifest in bad)
            Assert.Equal(StorageFault.InvalidManifest, Assert.Throws<StorageException>(() => ManifestApplier.Apply(target.Store, manifest)).Fault);
        Assert.Equal(before, Lines(target));
    }

    [StorageFact]
    public void A_long_manifest_is_cut_into_chunks_and_reads_back_equal()
    {
        var entries = Enumerable.Range(0, 3000).Select(i => new ManifestEntry((ulong)i, StMode.Regular)
        {
            SizeBytes = i, Links = [new(1, Bytes($"name{i}")), new(2, new byte[200])], Xattrs = [new(Bytes("user.x"), new byte[i % 700])],
        }).Append(new(9999, StMode.Regular) { Xattrs = [new(Bytes("user.big"), new byte[600_000])] }).ToList();
        var chunks = ManifestWriter.Write(entries).ToList();
        Assert.InRange(chunks.Count, 8, 16);
        var back = OverTheWire(entries);
        Assert.Equal(entries.Count, back.Count);
        Assert.Equal(entries[77].Links[0].Name, back[77].Links[0].Name);
        Assert.Equal(600_000, back[^1].Xattrs[0].Value.Length);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Damaged_manifests_are_refused_or_read_but_never_crash_the_reader(ulong seed)
    {
        var random = new SeededRandom(seed);
        var good = ManifestWriter.Write([new(1, StMode.Directory), new(99, StMode.Regular) { Links = [new(1, Bytes("f"))], Xattrs = [new(Bytes("user.a"), Bytes("1"))] }]).Single().ToArray();
        for (var round = 0; round < 3000; round++)
        {
            var bytes = good.ToArray();
            for (var i = random.Below(4); i >= 0; i--)
                bytes[random.Below(bytes.Length)] = (byte)random.Next();
            var reader = new ManifestReader();
            try
            {
                reader.Append(bytes.AsSpan(0, random.Below(bytes.Length + 1)));
            }
            catch (MalformedManifestException e)
            {
                Assert.Contains("invalid", e.Message);
            }
        }
    }

    [StorageFact]
    public void Random_trees_become_equal_even_when_the_target_was_interrupted_before()
    {
        const ulong Seed = 4711;
        var random = new SeededRandom(Seed);
        var (source, target) = (Open("a"), Open("b"));
        for (var round = 0; round < 25; round++)
        {
            for (var i = 0; i < 25; i++)
                Change(source, random);
            // An interrupted run leaves any directory and any file in the stage, under its id.
            if (round % 2 == 1)
            {
                target.Dispose();
                foreach (var path in Directory.GetFileSystemEntries(directory.File("b")).Where(p => Path.GetFileName(p) != ".pollux").Where((_, i) => i % 3 == 0))
                    Directory.Move(path, directory.File($"b/.pollux/stage/{Path.GetFileName(path)}"));
                target = Open("b");
            }
            var needed = Send(source, target);
            Assert.True(Lines(source).SequenceEqual(Lines(target)), $"seed {Seed}, round {round}");
            foreach (var id in needed)
                target.Write(id, 0, source.Read(id));
            ManifestApplier.ContentArrived(target.Store);
            foreach (var file in Manifest.Snapshot(source.Store).Where(e => StMode.IsRegular(e.Mode)))
                Assert.True(source.Read(file.Object) == target.Read(file.Object), $"seed {Seed}, round {round}");
        }

        static void Change(StoreDriver s, SeededRandom random)
        {
            var tree = Manifest.Snapshot(s.Store);
            var directories = tree.Where(e => StMode.IsDirectory(e.Mode)).ToList();
            var named = tree.Where(e => e.Links.Count > 0).ToList();
            ulong Into() => directories[random.Below(directories.Count)].Object;
            string Name() => $"n{random.Below(12)}";
            var (link, mode) = named.Count > 0 ? named.Select(e => (e.Links[0], e.Mode)).ElementAt(random.Below(named.Count)) : default;
            var id = s.NextId();
            _ = random.Below(8) switch
            {
                0 or 1 => Content(s.Try(new(MutationKind.CreateFile) { Object = id, Parent = Into(), Name = Bytes(Name()), Mode = 0x1A4 })),
                2 => s.Try(new(MutationKind.MakeDirectory) { Object = id, Parent = Into(), Name = Bytes(Name()), Mode = 0x1ED }),
                3 => s.Try(new(MutationKind.Symlink) { Object = id, Parent = Into(), Name = Bytes(Name()), Data = Bytes(Name()) }),
                4 or 5 when link.Name is not null => s.Try(new(MutationKind.Rename)
                {
                    Parent = link.Parent, Name = link.Name, NewParent = Into(), NewName = Bytes(Name()), Flags = (uint)random.Below(3),
                }),
                6 when link.Name is not null => s.Try(new(StMode.IsDirectory(mode) ? MutationKind.RemoveDirectory : MutationKind.Unlink) { Parent = link.Parent, Name = link.Name }),
                7 when named.Count > 0 => s.Link(named[random.Below(named.Count)].Object, Into(), Name()),
                _ => 0,
            };

            int Content(int error) => error == 0 ? s.Store.Write(id, 0, Bytes($"content of {id:x}")) : error;
        }
    }
}
