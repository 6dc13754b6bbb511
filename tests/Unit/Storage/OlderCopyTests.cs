using System.Diagnostics;
using Pollux.DataPlane.Commands;
using Pollux.DataPlane.Core.Roles;
using Pollux.DataPlane.Fuse;
using Pollux.DataPlane.Native;
using Pollux.DataPlane.Storage;
using Pollux.Tests.Unit.Replication;

namespace Pollux.Tests.Unit.Storage;

public sealed class OlderCopyTests
{
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(20);
    private static readonly LocalState Outdated = LocalState.Fresh with { Record = AuthorityRecord.None with { Epoch = 7 }, DataState = DataState.Outdated };
    private static readonly LocalState Inconsistent = Outdated with { DataState = DataState.Inconsistent };

    [XfsFact]
    public void An_older_copy_holds_the_whole_tree_as_it_was_and_shares_its_blocks()
    {
        using var disk = new LoopFileSystem("xfs");
        using var module = new Module(disk.Path);
        var big = module.Tree.File(StoreDriver.Root, "disk");
        for (var i = 0; i < 64; i++)
            Assert.Equal(0, module.Store.Write(big, (long)i << 20, MirroringTests.Pattern(i, 1 << 20)));
        var sub = module.Tree.Directory(StoreDriver.Root, "sub", 0x1C8);
        var file = module.Tree.File(sub, "file", "content", 0x9ED);
        Assert.Equal(0, module.Tree.Try(new(MutationKind.Link) { Object = file, Parent = StoreDriver.Root, Name = [0xff, (byte)'n'] }));
        Assert.Equal(0, module.Tree.Try(new(MutationKind.SetXattr) { Object = file, Name = "user.colour"u8.ToArray(), Data = "red"u8.ToArray() }));
        Assert.Equal(0, module.Tree.Try(new(MutationKind.SetAttributes) { Object = file, Mask = AttributeMask.Uid | AttributeMask.Gid | AttributeMask.Mode, Uid = 12, Gid = 34, Mode = 0x9ED }));
        module.Tree.Symlink(sub, "link", "../disk");
        module.Tree.Make(new(MutationKind.MakeNode) { Mode = StMode.Pipe | 0x180 }, sub, "pipe");
        Assert.Equal(0, module.Tree.Try(new(MutationKind.SetAttributes) { Object = sub, Mask = AttributeMask.ModifyTime | AttributeMask.AccessTime, ModifyTimeNs = 1_000_000_007, AccessTimeNs = 5 }));
        Assert.Equal(0, module.Store.FlushAll());
        var free = disk.FreeBytes;
        var before = Describe(disk.Path);

        using var older = OlderCopy.Open(module.Store, module.Note);
        Assert.True(older.Preserve(Outdated, Deadline, () => null)!.Kept, module.Notes);
        Assert.InRange(free - disk.FreeBytes, 0, 2 << 20);
        Assert.Equal(before, Describe(module.Older("7/tree")));
        Assert.Equal(Errno.ENOENT, module.Store.Lookup(StoreDriver.Root, ".pollux"u8, out _));

        // What is written afterwards is not in it.
        module.Tree.Write(big, 0, "overwritten");
        Assert.Equal(0, module.Tree.Try(new(MutationKind.Unlink) { Parent = sub, Name = "file"u8.ToArray() }));
        Assert.Equal(before, Describe(module.Older("7/tree")));
    }

    [Ext4Fact]
    public void Where_blocks_cannot_be_shared_no_copy_is_made_and_the_file_system_is_named()
    {
        using var disk = new LoopFileSystem("ext4", sizeMb: 64);
        using var module = new Module(disk.Path);
        module.Tree.File(module.Tree.Directory(StoreDriver.Root, "sub"), "disk", "content");
        using var older = OlderCopy.Open(module.Store, module.Note);
        var status = older.Preserve(Outdated, Deadline, () => null);
        Assert.Equal(new(false, "no older copy: ext4 has no reflink"), status);
        Assert.Equal(status, older.Status);
        Assert.Contains("ext4 has no reflink", module.Notes);
        Assert.Empty(Directory.EnumerateFileSystemEntries(module.Older("")));
    }

    [XfsFact]
    public void A_resync_that_was_interrupted_keeps_the_copy_of_the_first_and_the_next_consistent_state_replaces_it()
    {
        using var disk = new LoopFileSystem("xfs");
        using var module = new Module(disk.Path);
        var file = module.Tree.File(StoreDriver.Root, "disk", "first");
        using (var older = OlderCopy.Open(module.Store, module.Note))
        {
            Assert.Null(older.Status);
            Assert.True(older.Preserve(Outdated, Deadline, () => null)!.Kept);
        }
        module.Tree.Write(file, 0, "mixed");
        using (var older = OlderCopy.Open(module.Store, module.Note))
        {
            Assert.True(older.Status!.Kept);
            Assert.True(older.Preserve(Inconsistent, Deadline, () => null)!.Kept);
        }
        Assert.Equal("first", File.ReadAllText(module.Older("7/tree/disk")));
        module.Tree.Write(file, 0, "equal");
        using (var older = OlderCopy.Open(module.Store, module.Note))
            Assert.True(older.Preserve(Outdated with { Record = Outdated.Record with { Epoch = 9 } }, Deadline, () => null)!.Kept);
        Assert.Equal("equal", File.ReadAllText(module.Older("9/tree/disk")));
        Assert.Equal(["9"], module.Kept);
    }

    [XfsFact]
    public void A_copy_of_an_inconsistent_or_unknown_state_is_never_made()
    {
        using var disk = new LoopFileSystem("xfs");
        using var module = new Module(disk.Path);
        module.Tree.File(StoreDriver.Root, "disk", "x");
        using var older = OlderCopy.Open(module.Store, module.Note);
        Assert.False(older.Preserve(Inconsistent, Deadline, () => null)!.Kept);
        Assert.Null(older.Preserve(LocalState.Fresh, Deadline, () => null));
        Assert.Empty(module.Kept);
    }

    [XfsFact]
    public void What_a_crash_left_of_a_copy_counts_as_none_and_goes()
    {
        using var disk = new LoopFileSystem("xfs");
        using var module = new Module(disk.Path);
        module.Tree.File(StoreDriver.Root, "disk", "x");
        foreach (var refuse in new[] { "new/tree/deep/er", "gone/tree" })
            File.WriteAllText(Path.Combine(Directory.CreateDirectory(module.Older(refuse)).FullName, "half"), "");
        using var older = OlderCopy.Open(module.Store, module.Note);
        Assert.Null(older.Status);
        Assert.True(older.Preserve(Outdated, Deadline, () => null)!.Kept);
        Assert.Equal(["7"], module.Kept);
    }

    [XfsFact]
    public void A_copy_that_is_given_up_in_the_middle_leaves_nothing()
    {
        using var disk = new LoopFileSystem("xfs");
        using var module = new Module(disk.Path);
        for (var i = 0; i < 10; i++)
            module.Tree.File(StoreDriver.Root, $"file{i}", "x");
        using var older = OlderCopy.Open(module.Store, module.Note);
        var asked = 0;
        var status = older.Preserve(Outdated, Deadline, () => ++asked > 5 ? "the session has ended" : null);
        Assert.Equal(new(false, "no older copy: the session has ended"), status);
        Assert.Equal(new(false, "no older copy: it was not complete within 0 s"), older.Preserve(Outdated, TimeSpan.Zero, () => null));
        Assert.Empty(module.Kept);
    }

    [XfsFact]
    public void A_copy_that_is_read_stays_until_the_reader_has_gone()
    {
        using var disk = new LoopFileSystem("xfs");
        using var module = new Module(disk.Path);
        module.Tree.File(StoreDriver.Root, "disk", "x");
        using var older = OlderCopy.Open(module.Store, module.Note);
        older.Preserve(Outdated, Deadline, () => null);
        using var hidden = module.Store.OpenHiddenDirectory(0);
        using var folder = OlderCopyFolder.OpenIfThere((int)hidden.DangerousGetHandle());
        using (folder!.OpenTree(7, out var held))
        {
            Assert.False(older.GiveUp("no room"));
            older.Drop();
            Assert.Equal(["7"], module.Kept);
            held!.Dispose();
        }
        var clock = Stopwatch.StartNew();
        while (module.Kept.Length > 0 && clock.Elapsed < Deadline)
            Thread.Sleep(20);
        Assert.Empty(module.Kept);
        Assert.Null(older.Status);
    }

    [XfsFact]
    public void Restoring_reads_under_the_mounts_of_a_running_host_and_shares_or_copies_the_blocks()
    {
        using var disk = new LoopFileSystem("xfs");
        using var elsewhere = new TemporaryDirectory();
        var directory = Directory.CreateDirectory(Path.Combine(disk.Path, "module")).FullName;
        string[] before;
        using (var module = new Module(directory))
        {
            var file = module.Tree.File(StoreDriver.Root, "disk", "content");
            module.Tree.Write(file, 5 << 20, "after a hole");
            before = Describe(directory);
            using var older = OlderCopy.Open(module.Store, module.Note);
            older.Preserve(Outdated, Deadline, () => null);
        }
        using var covered = CoveredDirectory.Open(directory, Deadline);
        using var cover = FuseSession.Start(covered, new CoverFileSystem("covered"), new FuseSessionOptions { Source = "pollux-test" });
        var output = new StringWriter();
        OlderCopyCommand.List([directory], output);
        Assert.Contains("7  Outdated of epoch 7, made ", output.ToString());

        var beside = Path.Combine(disk.Path, "restored");
        OlderCopyCommand.Restore([directory], beside, output, CancellationToken.None);
        Assert.Contains("1 files shared", output.ToString());
        Assert.Equal(before, Describe(beside));
        OlderCopyCommand.Restore([directory], elsewhere.File("restored"), output, CancellationToken.None);
        Assert.Contains("1 files with", output.ToString());
        Assert.Equal(before, Describe(elsewhere.File("restored")));
        Assert.InRange(AllocatedBytes(elsewhere.File("restored/disk")), 1, 1 << 20);

        Assert.Equal("older-copy.target-in-use", Refused(beside));
        Assert.Equal("older-copy.target-in-module", Refused(Path.Combine(directory, "over")));
        // Nobody else has seen a mount go.
        Assert.Equal("fuse.pollux", MountTable.On(directory)[^1].Type);
        cover.Stop(Deadline);
        covered.Uncover();

        string Refused(string target) =>
            Assert.Throws<HostStartException>(() => OlderCopyCommand.Restore([directory], target, TextWriter.Null, CancellationToken.None)).Code;
    }

    [StorageFact]
    public void A_module_without_an_older_copy_says_so()
    {
        using var directory = new TemporaryDirectory();
        var output = new StringWriter();
        OlderCopyCommand.List([directory.Path], output);
        Assert.Contains("no older copy is kept", output.ToString());
        Assert.Equal("older-copy.none",
            Assert.Throws<HostStartException>(() => OlderCopyCommand.Restore([directory.Path], directory.Path + "-restored", TextWriter.Null, CancellationToken.None)).Code);
        Assert.False(Directory.Exists(directory.Path + "-restored"));
    }

    private static long AllocatedBytes(string path)
    {
        using var process = Process.Start(new ProcessStartInfo("stat", ["-c", "%b", path]) { RedirectStandardOutput = true })!;
        return long.Parse(process.StandardOutput.ReadToEnd()) * 512;
    }

    /// <summary>Everything but change times, by the system's own tools: names, types, modes, owners, times, links, contents, attributes.</summary>
    private static string[] Describe(string directory)
    {
        const string Script = """
            find . -mindepth 1 -path ./.pollux -prune -o -printf '%P %y %m %U %G %n %l\n' | sort
            find . -mindepth 1 -path ./.pollux -prune -o -not -type l -printf '%P %T@\n' | sort
            find . -path ./.pollux -prune -o -type f -print0 | sort -z | xargs -0 -r sha256sum
            find . -path ./.pollux -prune -o -type f -print0 | sort -z | xargs -0 -r getfattr -h -d -m '^(user|security)'
            """;
        using var process = Process.Start(new ProcessStartInfo("sh", ["-c", Script]) { RedirectStandardOutput = true, WorkingDirectory = directory, Environment = { ["LC_ALL"] = "C" } })!;
        var said = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.NotEmpty(said);
        return said.Split('\n');
    }

    private sealed class Module : IDisposable
    {
        private readonly List<string> notes = [];
        private readonly string directory;

        public Module(string directory)
        {
            this.directory = directory;
            Tree = new(ObjectStore.Open(directory));
        }

        public StoreDriver Tree { get; }
        public ObjectStore Store => Tree.Store;
        public string Notes => string.Join("; ", notes);
        public string[] Kept => Directory.Exists(Older("")) ? [.. Directory.EnumerateFileSystemEntries(Older("")).Select(p => Path.GetFileName(p))] : [];

        public string Older(string name) => Path.Combine(directory, ".pollux", "older", name);

        public void Note(string kind, string text)
        {
            lock (notes)
                notes.Add($"{kind}: {text}");
        }

        public void Dispose() => Tree.Dispose();
    }
}
