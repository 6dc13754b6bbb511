using System.Diagnostics;
using Pollux.DataPlane.Native;
using Pollux.DataPlane.Storage;
using static Pollux.Tests.Unit.Storage.StoreDriver;

namespace Pollux.Tests.Unit.Storage;

public sealed class ObjectStoreTests : IDisposable
{
    private readonly TemporaryDirectory directory = new();
    private StoreDriver? opened;

    private StoreDriver Open(ObjectStoreOptions? options = null) => opened = new(ObjectStore.Open(directory.Path, options));

    private StoreDriver Reopen()
    {
        opened?.Dispose();
        return Open();
    }

    public void Dispose()
    {
        opened?.Dispose();
        directory.Dispose();
    }

    [StorageFact]
    public void Objects_keep_their_ids_names_and_content_over_a_restart()
    {
        var s = Open();
        var sub = s.Directory(Root, "sub");
        var file = s.File(sub, "disk.img", "content");
        var link = s.Symlink(Root, "current", "sub/disk.img");

        s = Reopen();
        Assert.Equal(sub, s.Lookup(Root, "sub"));
        Assert.Equal(file, s.Lookup(sub, "disk.img"));
        Assert.Equal("content", s.Read(file));
        Assert.Equal(link, s.Lookup(Root, "current"));
        var target = new byte[64];
        Assert.Equal(0, s.Store.ReadLink(link, target, out var length));
        Assert.Equal("sub/disk.img", System.Text.Encoding.UTF8.GetString(target, 0, length));
        Assert.Equal(Math.Max(sub, Math.Max(file, link)), s.Store.HighestId);
    }

    [StorageFact]
    public void Owner_and_mode_are_exactly_those_of_the_mutation()
    {
        var s = Open();
        var file = s.Make(new(MutationKind.CreateFile) { Mode = StMode.Regular | 0xFB6, Uid = 1234, Gid = 4321 }, Root, "f"); // 07666
        var dir = s.Make(new(MutationKind.MakeDirectory) { Mode = StMode.Directory | 0x5FF, Uid = 7, Gid = 8 }, Root, "d"); // 02777
        var pipe = s.Make(new(MutationKind.MakeNode) { Mode = StMode.Pipe | 0x1B6 }, Root, "p");
        var device = s.Make(new(MutationKind.MakeNode) { Mode = StMode.BlockDevice | 0x1B0, DeviceNumber = 0x0010_0801 }, Root, "b"); // 8:257
        Assert.Equal((StMode.Regular | 0xFB6u, 1234u, 4321u), (s.Attributes(file).Mode, s.Attributes(file).Uid, s.Attributes(file).Gid));
        Assert.Equal((StMode.Directory | 0x5FFu, 7u, 8u), (s.Attributes(dir).Mode, s.Attributes(dir).Uid, s.Attributes(dir).Gid));
        Assert.Equal(StMode.Pipe | 0x1B6u, s.Attributes(pipe).Mode);
        Assert.Equal(0x0010_0801u, s.Attributes(device).DeviceNumber);
    }

    [StorageFact]
    public void A_hole_reaches_to_its_end_and_takes_nothing_behind_it()
    {
        var s = Open();
        var file = s.File(Root, "f", "content");
        Assert.Equal(0, s.Store.MakeHole(file, 4, 1 << 20));
        Assert.Equal((1 << 20) + 4, s.Attributes(file).SizeBytes);
        Assert.StartsWith("cont\0\0\0\0", s.Read(file));
        Assert.Equal(0, s.Store.MakeHole(file, 0, 2));
        Assert.Equal((1 << 20) + 4, s.Attributes(file).SizeBytes);
        Assert.StartsWith("\0\0nt", s.Read(file));
    }

    [StorageFact]
    public void A_write_of_any_length_is_whole_at_its_place_and_nowhere_else()
    {
        var s = Open();
        var file = s.File(Root, "f");
        foreach (var length in (ReadOnlySpan<int>)[1, (64 << 10) - 1, 64 << 10, (64 << 10) + 1, (128 << 10) + 1, (1 << 20) + 7])
        {
            const int Before = 4097;
            var random = new Random(length);
            var expected = new byte[Before + length + 3];
            random.NextBytes(expected);
            Assert.Equal(0, s.Store.Write(file, 0, expected));
            random.NextBytes(expected.AsSpan(Before, length));
            Assert.Equal(0, s.Store.Write(file, Before, expected.AsSpan(Before, length)));
            var found = new byte[expected.Length];
            Assert.Equal(0, s.Store.Read(file, 0, found, out var count));
            Assert.True(count == found.Length && expected.AsSpan().SequenceEqual(found), $"{length} bytes");
        }
    }

    [StorageFact]
    public void An_unlinked_object_stays_usable_until_it_is_released()
    {
        var s = Open(new ObjectStoreOptions { DescriptorsMax = 2 });
        var file = s.File(Root, "f", "before");
        Assert.Equal(0, s.Store.Apply(new(MutationKind.Unlink) { Parent = Root, Name = Bytes("f") }, out var attributes, out var orphan));
        Assert.Equal((file, 0u, file), (attributes.Object, attributes.Links, orphan));
        Assert.Equal(Errno.ENOENT, s.LookupError(Root, "f"));
        for (var i = 0; i < 8; i++)
            s.File(Root, $"other{i}", "x"); // Takes every descriptor of the cache.
        s.Write(file, 0, "after!");
        Assert.Equal("after!", s.Read(file));
        Assert.Equal(0u, s.Attributes(file).Links);

        Assert.Equal(0, s.Release(file));
        Assert.Equal(Errno.ESTALE, s.Store.GetAttributes(file, out _));
        Assert.Equal(0, s.Release(file));
        Assert.Empty(Directory.GetFileSystemEntries(directory.File(".pollux/unlinked")));
    }

    [StorageFact]
    public void An_object_is_not_released_while_it_has_a_name()
    {
        var s = Open();
        var file = s.File(Root, "f", "kept");
        Assert.Equal(0, s.Release(file));
        Assert.Equal("kept", s.Read(file));
    }

    [StorageFact]
    public void Unlinked_objects_of_an_earlier_run_are_gone()
    {
        var s = Open();
        var file = s.File(Root, "f", "x");
        Assert.Equal(0, s.Unlink(Root, "f"));
        s = Reopen();
        Assert.False(s.Store.Exists(file));
        Assert.Empty(Directory.GetFileSystemEntries(directory.File(".pollux/unlinked")));
    }

    [StorageFact]
    public void Hard_links_are_names_of_one_object_also_after_a_restart()
    {
        var s = Open();
        var sub = s.Directory(Root, "sub");
        var file = s.File(Root, "a", "shared");
        Assert.Equal(0, s.Link(file, sub, "b"));
        Assert.Equal(2u, s.Attributes(file).Links);
        s = Reopen();
        Assert.Equal(file, s.Lookup(sub, "b"));
        Assert.Equal(2u, s.Attributes(file).Links);
        Assert.Equal(0, s.Unlink(Root, "a"));
        Assert.Equal("shared", s.Read(file));
        Assert.Equal(1u, s.Attributes(file).Links);
        Assert.Equal(0, s.Rename(sub, "b", Root, "c"));
        Assert.Equal(file, s.Lookup(Root, "c"));
        Assert.Equal(Errno.EPERM, s.Link(sub, Root, "d"));
    }

    [StorageFact]
    public void A_rename_over_a_file_leaves_the_replaced_one_usable_until_released()
    {
        var s = Open();
        var a = s.File(Root, "a", "new");
        var b = s.File(Root, "b", "old");
        Assert.Equal(0, s.Store.Apply(new(MutationKind.Rename) { Parent = Root, Name = Bytes("a"), NewParent = Root, NewName = Bytes("b") }, out var moved, out var orphan));
        Assert.Equal((a, b), (moved.Object, orphan));
        Assert.Equal(a, s.Lookup(Root, "b"));
        Assert.Equal(Errno.ENOENT, s.LookupError(Root, "a"));
        Assert.Equal("old", s.Read(b));
        Assert.Equal(0, s.Release(b));
        Assert.Equal("new", File.ReadAllText(directory.File("b")));
    }

    [StorageFact]
    public void Renames_obey_their_flags_and_the_types()
    {
        var s = Open();
        var a = s.File(Root, "a", "A");
        var d = s.Directory(Root, "d");
        var inner = s.Directory(d, "inner");
        var full = s.Directory(Root, "full");
        s.File(full, "x");
        Assert.Equal(Errno.EEXIST, s.Rename(Root, "a", Root, "d", Libc.RenameNoReplace));
        Assert.Equal(Errno.EISDIR, s.Rename(Root, "a", Root, "d"));
        Assert.Equal(Errno.ENOTDIR, s.Rename(Root, "d", Root, "a"));
        Assert.Equal(Errno.ENOTEMPTY, s.Rename(Root, "d", Root, "full"));
        Assert.Equal(Errno.EINVAL, s.Rename(Root, "d", inner, "loop"));
        Assert.Equal(Errno.ENOENT, s.Rename(Root, "a", Root, "none", Libc.RenameExchange));
        Assert.Equal(Errno.EINVAL, s.Rename(Root, "a", Root, "z", 4));

        Assert.Equal(0, s.Rename(Root, "a", d, "inner", Libc.RenameExchange));
        Assert.Equal(inner, s.Lookup(Root, "a"));
        Assert.Equal(a, s.Lookup(d, "inner"));
        Assert.Equal(0, s.Unlink(d, "inner"));
        Assert.Equal(0, s.Rename(Root, "full", Root, "a"));
        Assert.Equal(0u, s.Attributes(inner).Links);
        Assert.Equal(["x"], s.List(s.Lookup(Root, "a")).Skip(2));
        s = Reopen();
        Assert.Equal(full, s.Lookup(Root, "a"));
    }

    [StorageFact]
    public void A_removed_directory_answers_empty_until_released()
    {
        var s = Open();
        var d = s.Directory(Root, "d");
        s.File(d, "f");
        Assert.Equal(Errno.ENOTEMPTY, s.RemoveDirectory(Root, "d"));
        Assert.Equal(0, s.Unlink(d, "f"));
        Assert.Equal(Errno.EISDIR, s.Unlink(Root, "d"));
        Assert.Equal(0, s.RemoveDirectory(Root, "d"));
        Assert.Equal(0u, s.Attributes(d).Links);
        Assert.Empty(s.List(d));
        Assert.Equal(Errno.ENOENT, s.Try(new(MutationKind.CreateFile) { Object = s.NextId(), Parent = d, Name = Bytes("g") }));
        Assert.Equal(0, s.Store.Flush(d, dataOnly: false));
        Assert.Equal(0, s.Release(d));
        Assert.False(s.Store.Exists(d));
    }

    [StorageFact]
    public void Reserved_and_impossible_names_are_refused_and_hidden()
    {
        var s = Open();
        s.File(Root, "f");
        Assert.Equal([".", "..", "f"], s.List(Root));
        Assert.Equal(Errno.ENOENT, s.LookupError(Root, ".pollux"));
        foreach (var (name, error) in new[] { (".pollux", Errno.EPERM), (".pollux-x", Errno.EPERM), ("a/b", Errno.EINVAL), ("..", Errno.EINVAL), (".", Errno.EINVAL), ("", Errno.ENOENT), ("a\0b", Errno.EINVAL), (new string('x', 256), Errno.ENAMETOOLONG) })
            Assert.Equal(error, s.Try(new(MutationKind.CreateFile) { Object = s.NextId(), Parent = Root, Name = Bytes(name) }));
        Assert.Equal(Errno.EPERM, s.Rename(Root, "f", Root, ".pollux"));
        Assert.Equal(Errno.EPERM, s.Rename(Root, ".pollux", Root, "g"));
        var sub = s.Directory(Root, "sub");
        s.File(sub, ".pollux-notes");
        Assert.Equal(Errno.EEXIST, s.Try(new(MutationKind.CreateFile) { Object = s.NextId(), Parent = Root, Name = Bytes("f") }));
        Assert.Equal(Errno.EINVAL, s.Try(new(MutationKind.CreateFile) { Object = sub, Parent = Root, Name = Bytes("g") }));
    }

    [StorageFact]
    public void Attributes_change_as_asked_and_nothing_else()
    {
        var s = Open();
        var f = s.File(Root, "f", "0123456789");
        Assert.Equal(0, s.Store.Apply(new(MutationKind.SetAttributes)
        {
            Object = f, Mask = AttributeMask.Mode | AttributeMask.Uid | AttributeMask.Size | AttributeMask.ModifyTime,
            Mode = 0x9C0, Uid = 99, SizeBytes = 4, ModifyTimeNs = -1_500_000_000,
        }, out var after, out _));
        Assert.Equal((StMode.Regular | 0x9C0u, 99u, 0u, 4L, -1_500_000_000L), (after.Mode, after.Uid, after.Gid, after.SizeBytes, after.ModifyTimeNs));
        Assert.Equal("0123", s.Read(f));
        Assert.Equal(0, s.Try(new(MutationKind.Allocate) { Object = f, OffsetBytes = 0, LengthBytes = 1 << 20, Flags = 0 }));
        Assert.Equal(1 << 20, s.Attributes(f).SizeBytes);
        Assert.Equal(0, s.Try(new(MutationKind.SetAttributes) { Object = Root, Mask = AttributeMask.Mode, Mode = 0x1C0 }));
        Assert.Equal(StMode.Directory | 0x1C0u, s.Attributes(Root).Mode);
        Assert.Equal(Errno.EISDIR, s.Try(new(MutationKind.SetAttributes) { Object = Root, Mask = AttributeMask.Size }));
        var link = s.Symlink(Root, "l", "f");
        Assert.Equal(0, s.Try(new(MutationKind.SetAttributes) { Object = link, Mask = AttributeMask.Uid, Uid = 5 }));
        Assert.Equal((5u, 99u), (s.Attributes(link).Uid, s.Attributes(f).Uid));
    }

    [StorageFact]
    public void Extended_attributes_work_and_those_of_Pollux_are_out_of_reach()
    {
        var s = Open();
        var f = s.File(Root, "f");
        Assert.Equal(0, s.SetXattr(f, "user.a", "1"));
        Assert.Equal(0, s.SetXattr(Root, "user.b", ""));
        Assert.Equal("1", s.Xattr(f, "user.a"));
        Assert.Equal("", s.Xattr(Root, "user.b"));
        Assert.Equal(Errno.EEXIST, s.SetXattr(f, "user.a", "2", Libc.XattrCreate));
        Assert.Equal(Errno.EPERM, s.SetXattr(f, "trusted.pollux.id", "12345678"));
        Assert.Equal(Errno.EPERM, s.Try(new(MutationKind.RemoveXattr) { Object = f, Name = Bytes("trusted.pollux.id") }));
        Assert.Equal(Errno.ENODATA, s.Store.GetXattr(f, "trusted.pollux.id"u8, new byte[8], out _));
        var names = new byte[64];
        Assert.Equal(0, s.Store.ListXattr(f, names, out var length));
        Assert.Equal("user.a\0", System.Text.Encoding.UTF8.GetString(names, 0, length));
        Assert.Equal(0, s.Store.ListXattr(f, [], out length));
        Assert.Equal(7, length);
        Assert.Equal(Errno.ERANGE, s.Store.ListXattr(f, new byte[3], out _));
        Assert.Equal(0, s.Try(new(MutationKind.RemoveXattr) { Object = f, Name = Bytes("user.a") }));
        Assert.Equal(Errno.ENODATA, s.Store.GetXattr(f, "user.a"u8, new byte[8], out _));
    }

    [StorageFact]
    public void A_directory_is_read_in_pieces_without_loss_while_it_changes()
    {
        var s = Open();
        var d = s.Directory(Root, "d");
        for (var i = 0; i < 200; i++)
            s.File(d, $"f{i}");
        var expected = Enumerable.Range(0, 200).Select(i => $"f{i}").ToList();
        Assert.Equal([".", "..", .. expected], s.List(d, entriesMaxPerCall: 7));

        var seen = new List<string>();
        long cookie = 0;
        for (var round = 0; round < 300; round++)
        {
            var one = true;
            Assert.Equal(0, s.Store.ReadDirectory(d, cookie, (ReadOnlySpan<byte> name, in ObjectAttributes a, long next) =>
            {
                if (!one)
                    return false;
                one = false;
                seen.Add(System.Text.Encoding.UTF8.GetString(name));
                cookie = next;
                return true;
            }));
            if (round is > 5 and < 100)
                Assert.Equal(0, s.Unlink(d, $"f{round - 5}"));
        }
        Assert.Equal(seen.Count, seen.Distinct().Count());
        Assert.Equal(["f0", .. expected.Skip(95)], seen.Where(n => n[0] == 'f' && s.LookupError(d, n) == 0));
    }

    [StorageFact]
    public void Objects_without_id_get_one_and_copies_with_the_same_id_are_told_apart()
    {
        var s = Open();
        var original = s.File(Root, "disk", "original");
        s.Dispose();
        Directory.CreateDirectory(directory.File("new/deep"));
        File.WriteAllText(directory.File("new/deep/f"), "foreign");
        File.CreateSymbolicLink(directory.File("new/link"), "nowhere");
        Run("cp", "-a", directory.File("disk"), directory.File("a-copy"));
        Run("ln", directory.File("new/deep/f"), directory.File("hard"));

        s = Open();
        var adopted = s.Store.AdoptUnnamed(s.NextId);
        Assert.Equal(5, adopted.Count);
        Assert.Equal(original, s.Lookup(Root, "disk"));
        Assert.NotEqual(original, s.Lookup(Root, "a-copy"));
        Assert.Equal("original", s.Read(s.Lookup(Root, "a-copy")));
        var deep = s.Lookup(s.Lookup(Root, "new"), "deep");
        var f = s.Lookup(deep, "f");
        Assert.Equal(f, s.Lookup(Root, "hard"));
        Assert.Equal(7, adopted.Single(a => a.Object == f).SizeBytes);
        s = Reopen();
        Assert.Equal(f, s.Lookup(Root, "hard"));
        Assert.Empty(s.Store.AdoptUnnamed(s.NextId));
    }

    [StorageFact]
    public void A_store_opened_before_a_mount_covers_the_directory_goes_on_under_it()
    {
        var s = Open(new ObjectStoreOptions { DescriptorsMax = 1 });
        var d = s.Directory(Root, "d");
        var f = s.File(d, "f", "below");
        Run("mount", "-t", "tmpfs", "tmpfs", directory.Path);
        try
        {
            Assert.Empty(Directory.GetFileSystemEntries(directory.Path));
            Assert.Equal("below", s.Read(f));
            s.File(d, "g", "new");
            Assert.Equal(0, s.SetXattr(Root, "user.r", "root"));
            Assert.Equal("root", s.Xattr(Root, "user.r"));
            Assert.Equal([".", "..", "d"], s.List(Root));
            Assert.Equal(0, s.Try(new(MutationKind.SetAttributes) { Object = Root, Mask = AttributeMask.Mode, Mode = 0x1C0 }));
            Assert.Equal(StMode.Directory | 0x1C0u, s.Attributes(Root).Mode);
            Assert.Equal(0, s.Store.FlushAll());
        }
        finally
        {
            Run("umount", directory.Path);
        }
        Assert.Equal("new", File.ReadAllText(directory.File("d/g")));
    }

    [StorageFact]
    public void A_mount_inside_the_directory_is_refused_with_a_clear_error()
    {
        var inner = directory.Sub("inner");
        Run("mount", "-t", "tmpfs", "tmpfs", inner);
        try
        {
            var e = Assert.Throws<StorageException>(() => Open());
            Assert.Equal(StorageFault.MountInside, e.Fault);
            Assert.Contains("/inner", e.Message);
        }
        finally
        {
            Run("umount", inner);
        }
    }

    [StorageFact]
    public void A_file_in_the_place_of_the_hidden_directory_is_refused()
    {
        File.WriteAllText(directory.File(".pollux"), "mine");
        Assert.Equal(StorageFault.ReservedNameTaken, Assert.Throws<StorageException>(() => Open()).Fault);
        Assert.Equal("mine", File.ReadAllText(directory.File(".pollux")));
    }

    [StorageFact]
    public void A_file_under_a_reserved_name_is_refused_instead_of_being_left_out()
    {
        File.WriteAllText(directory.File(".pollux-notes"), "mine");
        var e = Assert.Throws<StorageException>(() => Open());
        Assert.Equal(StorageFault.ReservedNameTaken, e.Fault);
        Assert.Contains(".pollux-notes", e.Message);
    }

    [StorageFact]
    public void A_file_system_without_trusted_attributes_is_refused_with_the_reason()
    {
        Assert.Equal(StorageFault.TrustedXattrsUnavailable, Assert.Throws<StorageException>(() => ObjectStore.Open("/proc/self")).Fault);
    }

    [StorageFact]
    public void A_name_swapped_behind_the_store_is_not_taken_for_the_object()
    {
        var s = Open(new ObjectStoreOptions { DescriptorsMax = 1 });
        var f = s.File(Root, "f", "right");
        s.File(Root, "other", "x");
        Run("cp", "--remove-destination", "/etc/hostname", directory.File("f"));
        Assert.Equal(Errno.ESTALE, s.Store.Read(f, 0, new byte[8], out _));
    }

    [StorageFact]
    public void Concurrent_readers_and_writers_of_many_objects_see_their_own_content_with_a_tiny_cache()
    {
        var s = Open(new ObjectStoreOptions { DescriptorsMax = 3 });
        var files = Enumerable.Range(0, 8).Select(i => s.File(Root, $"f{i}", new string((char)('a' + i), 512))).ToArray();
        using var start = new Barrier(files.Length);
        var threads = files.Select((f, i) => new Thread(() =>
        {
            start.SignalAndWait();
            var block = new byte[512];
            for (var round = 0; round < 300; round++)
            {
                Assert.Equal(0, s.Store.Write(f, 512 * (round % 4), Bytes(new string((char)('a' + i), 512))));
                Assert.Equal(0, s.Store.Read(f, 0, block, out var count));
                Assert.Equal((512, (byte)('a' + i), (byte)('a' + i)), (count, block[0], block[511]));
            }
        })).ToList();
        threads.ForEach(t => t.Start());
        threads.ForEach(t => t.Join());
    }

    [StorageFact]
    public void Reads_and_writes_with_a_cached_descriptor_allocate_nothing()
    {
        var s = Open();
        var f = s.File(Root, "f", "x");
        var block = new byte[4096];
        for (var i = 0; i < 3; i++)
            Use();
        var before = GC.GetAllocatedBytesForCurrentThread();
        for (var i = 0; i < 100; i++)
            Use();
        Assert.Equal(0, GC.GetAllocatedBytesForCurrentThread() - before);

        void Use()
        {
            if (s.Store.Write(f, 4096, block) != 0 || s.Store.Read(f, 0, block, out _) != 0 || s.Store.Flush(f, dataOnly: true) != 0)
                throw new InvalidOperationException();
        }
    }

    private static void Run(string program, params string[] arguments)
    {
        using var process = Process.Start(program, arguments);
        process.WaitForExit();
        Assert.Equal(0, process.ExitCode);
    }
}
