using Pollux.DataPlane.Commands;
using Pollux.DataPlane.Core.Roles;
using Pollux.DataPlane.Native;
using Pollux.DataPlane.Storage;
using static Pollux.Tests.Unit.Storage.StoreDriver;

namespace Pollux.Tests.Unit.Storage;

/// <summary>A store whose module has several directories.</summary>
public sealed class SeveralDirectoriesTests : IDisposable
{
    private static readonly ulong Second = ModuleRoots.Of(1);
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(20);

    private readonly TemporaryDirectory directory = new();

    public void Dispose() => directory.Dispose();

    private StoreDriver Open(string name) => new(StoreOf.Directories(directory.Sub(name + "1"), directory.Sub(name + "2")));

    [Ext4Fact]
    public void An_object_lies_on_the_file_system_of_its_directory_for_life()
    {
        using var disk = new LoopFileSystem("ext4", sizeMb: 64);
        using var s = new StoreDriver(StoreOf.Directories(directory.Sub("first"), disk.Path));
        var (a, b) = (s.File(Root, "a", "in the first"), s.File(s.Directory(Second, "sub"), "b", "in the second"));
        Assert.Equal("in the first", File.ReadAllText(directory.File("first/a")));
        Assert.Equal("in the second", File.ReadAllText(Path.Combine(disk.Path, "sub/b")));
        Assert.Equal(0, s.Store.StatFs(b, out var small));
        Assert.Equal(0, s.Store.StatFs(a, out var large));
        Assert.InRange((long)small.Blocks * small.BlockSizeBytes, 1, 64 << 20);
        Assert.NotEqual(small.Blocks, large.Blocks);

        Assert.Equal(0, s.Unlink(s.Lookup(Second, "sub"), "b"));
        Assert.Equal("in the second", s.Read(b));
        Assert.Equal(["a"], s.List(Root).Except([".", ".."]));
        Assert.Single(Directory.GetFiles(Path.Combine(disk.Path, ".pollux/unlinked")));
        Assert.Equal([b], s.Store.Unlinked());
    }

    [StorageFact]
    public void Nothing_is_renamed_exchanged_or_linked_across_directories()
    {
        using var s = Open("m");
        var (a, b) = (s.File(Root, "a", "a"), s.File(Second, "b", "b"));
        Assert.Equal(Errno.EXDEV, s.Rename(Root, "a", Second, "new"));
        Assert.Equal(Errno.EXDEV, s.Rename(Root, "a", Second, "b"));
        Assert.Equal(Errno.EXDEV, s.Rename(Root, "a", Second, "b", Libc.RenameExchange));
        Assert.Equal(Errno.EXDEV, s.Link(b, Root, "link"));
        Assert.Equal((a, b), (s.Lookup(Root, "a"), s.Lookup(Second, "b")));
        Assert.Equal(Errno.EPERM, s.Try(new(MutationKind.MakeDirectory) { Object = s.NextId(), Parent = Second, Name = Bytes(".pollux"), Mode = 0x41ED }));
    }

    [XfsFact]
    public void A_flush_of_everything_fails_if_any_of_the_file_systems_fails()
    {
        using var good = new LoopFileSystem("xfs");
        foreach (var order in (int[])[0, 1])
        {
            using var bad = new LoopFileSystem("xfs");
            using var s = new StoreDriver(order == 0
                ? StoreOf.Directories(good.Path, directory.Sub("between"), bad.Path) : StoreOf.Directories(bad.Path, directory.Sub("behind"), good.Path));
            s.File(ModuleRoots.Of(order == 0 ? 2 : 0), "lost", "never written back");
            Assert.Equal(0, s.Store.FlushAll());
            bad.ShutDown();
            Assert.NotEqual(0, s.Store.FlushAll());
            s.Dispose();
            StoreOf.Release(good.Path);
        }
    }

    [StorageFact]
    public void Directories_in_another_order_or_twice_are_refused_until_a_new_module_takes_them()
    {
        var (one, two) = (directory.Sub("one"), directory.Sub("two"));
        using (var s = new StoreDriver(StoreOf.Directories(one, two)))
            s.File(Second, "b", "b");
        Assert.Equal(StorageFault.OtherDirectories, Assert.Throws<StorageException>(() => StoreOf.Directories(two, one)).Fault);
        Assert.Equal(StorageFault.OtherDirectories, Assert.Throws<StorageException>(() => StoreOf.Directories(two)).Fault);
        Assert.Equal(StorageFault.OtherDirectories, Assert.Throws<StorageException>(() => StoreOf.Directories(one, one)).Fault);
        StoreOf.Directories(one, two).Dispose();
        StoreOf.Release(one);
        StoreOf.Release(two);
        using var anew = new StoreDriver(StoreOf.Directories(two, one));
        Assert.Equal("b", anew.Read(anew.Lookup(Root, "b")));
    }

    [StorageFact]
    public void A_file_that_was_copied_with_its_identity_into_another_directory_gets_one_of_its_own()
    {
        ulong original;
        using (var s = Open("m"))
            original = s.File(Second, "original", "content");
        System.Diagnostics.Process.Start("cp", ["-a", "--preserve=all", directory.File("m2/original"), directory.File("m1/copy")]).WaitForExit();
        using var again = Open("m");
        Assert.Equal(original, again.Lookup(Second, "original"));
        var adopted = Assert.Single(again.Store.AdoptUnnamed(again.NextId));
        Assert.Equal(adopted.Object, again.Lookup(Root, "copy"));
        Assert.NotEqual(original, adopted.Object);
    }

    [StorageFact]
    public void Objects_without_a_name_are_kept_or_removed_in_every_directory()
    {
        ulong a, b;
        using (var s = Open("m"))
        {
            (a, b) = (s.File(Root, "a", "a"), s.File(Second, "b", "b"));
            Assert.Equal(0, s.Unlink(Root, "a"));
            Assert.Equal(0, s.Unlink(Second, "b"));
        }
        var paths = (string[])[directory.File("m1"), directory.File("m2")];
        using (var kept = new StoreDriver(StoreOf.Directories(new() { KeepsUnlinked = true }, paths)))
        {
            Assert.Equal([a, b], kept.Store.Unlinked().Order());
            Assert.Equal("b", kept.Read(b));
        }
        using var purged = new StoreDriver(StoreOf.Directories(paths));
        Assert.Empty(purged.Store.Unlinked());
        Assert.False(purged.Store.Exists(b));
    }

    [StorageFact]
    public void A_manifest_makes_every_directory_equal()
    {
        using var source = Open("a");
        using var target = Open("b");
        var disk = source.File(source.Directory(Second, "vm"), "disk", "content");
        source.File(Root, "vm.xml", "<domain/>");
        var open = source.File(Second, "temporary", "still open");
        Assert.Equal(0, source.Unlink(Second, "temporary"));
        // The same name elsewhere, and what goes.
        target.File(target.Directory(Root, "vm"), "disk", "other");
        target.File(Second, "old", "old");

        var needed = Send(source, target);
        Assert.Equal(Entries(source), Entries(target));
        Assert.Equal([disk, source.Lookup(Root, "vm.xml"), open], needed.Order());
        Assert.Equal([".pollux", "vm.xml"], Directory.GetFileSystemEntries(directory.File("b1")).Select(Path.GetFileName).Order());
        Assert.Single(Directory.GetFiles(directory.File("b2/.pollux/unlinked")));

        // Later changes of names stay inside their directory.
        Assert.Equal(0, source.Rename(source.Lookup(Second, "vm"), "disk", Second, "moved"));
        Send(source, target);
        Assert.Equal(disk, target.Lookup(Second, "moved"));
        Assert.Equal(Entries(source), Entries(target));
    }

    [StorageFact]
    public void An_object_that_lies_in_another_directory_than_the_manifest_says_is_made_anew()
    {
        using var source = Open("a");
        using var target = Open("b");
        var id = source.File(Second, "disk", "content");
        Assert.Equal(0, target.Try(new(MutationKind.CreateFile) { Object = id, Parent = Root, Name = Bytes("disk"), Mode = 0x81A4 }));
        Assert.Equal([id], Send(source, target));
        Assert.Equal(Entries(source), Entries(target));
    }

    [StorageFact]
    public void A_manifest_of_other_directories_changes_nothing()
    {
        using var two = Open("a");
        using var one = new StoreDriver(ObjectStore.Open(directory.Sub("single")));
        one.File(Root, "kept", "kept");
        two.File(Root, "kept2", "kept");
        Refused(one, Manifest.Snapshot(two.Store));
        Refused(two, Manifest.Snapshot(one.Store));
        var across = new ManifestEntry(1UL << 40, StMode.Regular) { Directory = 0, Links = [new(Second, Bytes("f"))] };
        Refused(two, [.. Manifest.Snapshot(two.Store), across]);
        Refused(two, [.. Manifest.Snapshot(two.Store), across with { Directory = 2, Links = [] }]);
        Assert.Equal("kept", one.Read(one.Lookup(Root, "kept")));
        Assert.Equal("kept", two.Read(two.Lookup(Root, "kept2")));

        static void Refused(StoreDriver target, IReadOnlyList<ManifestEntry> entries) => Assert.Equal(
            StorageFault.InvalidManifest, Assert.Throws<StorageException>(() => ManifestApplier.Apply(target.Store, entries)).Fault);
    }

    [XfsFact]
    public void An_older_copy_is_kept_of_all_directories_or_of_none()
    {
        using var first = new LoopFileSystem("xfs");
        using var second = new LoopFileSystem("xfs");
        var outdated = LocalState.Fresh with { Record = AuthorityRecord.None with { Epoch = 7 }, DataState = DataState.Outdated };
        string[] module = [first.Path, second.Path];
        using (var s = new StoreDriver(StoreOf.Directories(module)))
        {
            var (a, b) = (s.File(Root, "a", "old a"), s.File(Second, "b", "old b"));
            using var older = OlderCopy.Open(s.Store, static (_, _) => { });
            Assert.True(older.Preserve(outdated, Deadline, static () => null)!.Kept);
            s.Write(a, 0, "new");
            s.Write(b, 0, "new");
        }
        OlderCopyCommand.Restore(module, directory.File("restored"), TextWriter.Null, CancellationToken.None);
        Assert.Equal("old a", File.ReadAllText(directory.File("restored/1/a")));
        Assert.Equal("old b", File.ReadAllText(directory.File("restored/2/b")));

        // A crash has left it in one directory only: that is none.
        Directory.Delete(Path.Combine(second.Path, ".pollux/older/7"), recursive: true);
        var output = new StringWriter();
        OlderCopyCommand.List(module, output);
        Assert.Contains("no older copy is kept", output.ToString());
        using (var s = new StoreDriver(StoreOf.Directories(module)))
        {
            using var older = OlderCopy.Open(s.Store, static (_, _) => { });
            Assert.Null(older.Status);
        }
        // The removal of the rest ends at the latest with the next one.
        using (var s = new StoreDriver(StoreOf.Directories(module)))
        {
            using var older = OlderCopy.Open(s.Store, static (_, _) => { });
            Assert.True(older.Preserve(outdated, Deadline, static () => null)!.Kept);
            older.Drop();
        }
    }

    [XfsFact]
    public void Where_one_file_system_cannot_share_blocks_no_older_copy_is_kept_in_any_directory()
    {
        using var reflinks = new LoopFileSystem("xfs");
        var outdated = LocalState.Fresh with { Record = AuthorityRecord.None with { Epoch = 7 }, DataState = DataState.Outdated };
        using var s = new StoreDriver(StoreOf.Directories(reflinks.Path, directory.Sub("without")));
        s.File(Root, "a", "a");
        s.File(Second, "b", "b");
        using var older = OlderCopy.Open(s.Store, static (_, _) => { });
        Assert.Contains("no reflink", older.Preserve(outdated, Deadline, static () => null)!.Text);
        Assert.Empty(Directory.EnumerateFileSystemEntries(Path.Combine(reflinks.Path, ".pollux/older")));
    }

    private static IReadOnlyList<ulong> Send(StoreDriver source, StoreDriver target)
    {
        var reader = new ManifestReader();
        foreach (var chunk in ManifestWriter.Write(Manifest.Snapshot(source.Store)))
            reader.Append(chunk.Span);
        return ManifestApplier.Apply(target.Store, [.. reader.Entries]);
    }

    private static List<string> Entries(StoreDriver s) => [.. Manifest.Snapshot(s.Store).OrderBy(e => e.Object).Select(e =>
        $"{e.Object:x} in {e.Directory} {e.Mode:x} {e.SizeBytes} {e.ModifyTimeNs} " + string.Join(",", e.Links.Select(l => $"{l.Parent:x}/{Convert.ToHexString(l.Name)}").Order()))];
}
