using System.Diagnostics;
using Pollux.DataPlane.Core.Roles;
using Pollux.DataPlane.Guard;
using Pollux.DataPlane.Modules;
using Pollux.DataPlane.Storage;
using Pollux.Tests.Unit.Fuse;
using Pollux.Tests.Unit.Replication;
using Pollux.Tests.Unit.Storage;

namespace Pollux.Tests.Unit.Volumes;

/// <summary>The mounts of a mirrored module with two directories, through the real kernel.</summary>
public class SeveralMountsTests
{
    [FuseFact("/usr/bin/setfattr", "/sbin/mkfs.ext4")]
    public async Task Each_directory_has_its_mount_and_all_of_them_are_mirrored()
    {
        await using var stage = await Stage.CreateAsync();
        // At once in both, with writes that are answered only when they are stable.
        Parallel.Invoke(
            () => stage.Shell(0, "dd if=/dev/urandom of=disk bs=64k count=40 oflag=direct conv=fsync; for i in $(seq 50); do echo $i > f$i; done"),
            () => stage.Shell(1, "dd if=/dev/urandom of=disk bs=4k count=200 oflag=dsync; mkdir d; for i in $(seq 50); do echo $i > d/f$i; done; sync -f d"));
        stage.Shell(1, "chmod 750 .; setfattr -n user.note -v second .; test $(getfattr --only-values -n user.note .) = second; test $(stat -c %a .) = 750");
        stage.Shell(1, "mv d/f1 top; mv d/f2 d/../top2; ln disk hard; ln -s d soft; mkdir e; mv -T e d2; rmdir d2; mv soft d/soft; cd d/..; test -e hard");
        Assert.Equal("disk\nhard\ntop\ntop2", stage.Shell(1, "ls -p | grep -v /"));
        Assert.Equal("second", stage.Shell(1, "cd d; getfattr --only-values -n user.note .."));
        Assert.NotEqual("second", stage.Shell(0, "getfattr --only-values -n user.note . 2> /dev/null || echo none"));
        Assert.NotEqual(stage.Shell(0, "stat -c %d ."), stage.Shell(1, "stat -c %d ."));
        Assert.Equal(stage.Shell(0, "cd ..; stat -f -c %b /tmp"), stage.Shell(0, "stat -f -c %b ."));
        Assert.NotEqual(stage.Shell(0, "stat -f -c %b ."), stage.Shell(1, "stat -f -c %b ."));

        Assert.Contains("Invalid cross-device link", stage.Shell(0, $"ln disk {stage.Paths[1]}/across 2>&1 || true"));
        stage.Shell(0, $"mv f1 {stage.Paths[1]}/moved; test ! -e f1; test $(cat {stage.Paths[1]}/moved) = 1");
        await stage.AssertEqualAsync();
    }

    [FuseFact("/sbin/mkfs.ext4")]
    public async Task When_the_volume_goes_all_directories_are_covered_and_at_the_end_as_they_were()
    {
        await using var stage = await Stage.CreateAsync();
        stage.Shell(0, "echo one > file");
        stage.Shell(1, "echo two > file");
        await stage.Front.CoverAsync();
        foreach (var path in stage.Paths)
            Assert.False(File.Exists(Path.Combine(path, "file")), path);
        await stage.CloseAsync();
        Assert.Equal("one\n", File.ReadAllText(Path.Combine(stage.Paths[0], "file")));
        Assert.Equal("two\n", File.ReadAllText(Path.Combine(stage.Paths[1], "file")));
        Assert.Empty(stage.Held);
    }

    [FuseFact]
    public async Task A_directory_that_cannot_be_opened_leaves_none_covered()
    {
        using var directory = new TemporaryDirectory();
        File.WriteAllText(directory.File("a-file"), "");
        var first = directory.Sub("first");
        var front = new ModuleFront("c1/m", [first, directory.File("a-file/below")], directory.File("exchanges"), new Holder([]), null);
        await Assert.ThrowsAsync<Pollux.DataPlane.Fuse.FuseException>(() => front.OpenAsync("it has just started."));
        Assert.Empty(Pollux.DataPlane.Fuse.MountTable.On(first));
    }

    private sealed class Holder(Dictionary<string, HeldMount> held) : IMountHolder
    {
        public void Hold(HeldMount mount) => held[mount.Key] = mount;

        public void Release(string key) => held.Remove(key);
    }

    private sealed class Stage : IAsyncDisposable
    {
        private readonly TemporaryDirectory _directory = new();
        private readonly LoopFileSystem _disk = new("ext4", sizeMb: 64);
        private bool _closed;

        private Stage()
        {
            Paths = [Pair.A.ModuleDirectory, _disk.Path];
            OnB = [Pair.B.ModuleDirectory, _directory.Sub("b2")];
            Front = new ModuleFront("c1/m", Paths, _directory.File("exchanges"), new Holder(Held), null);
            Pair.A.OpenStore = () => ObjectStore.Open(Front.Directories);
            Pair.B.OpenStore = () => StoreOf.Directories(OnB);
        }

        public ReplicationPair Pair { get; } = new();

        public ModuleFront Front { get; }

        public Dictionary<string, HeldMount> Held { get; } = [];

        public string[] Paths { get; }

        public string[] OnB { get; }

        public static async Task<Stage> CreateAsync()
        {
            var stage = new Stage();
            var a = stage.Pair.A;
            a.Record(1, "a", "a");
            a.State = a.State with { DataState = DataState.UpToDate };
            await stage.Front.OpenAsync("it has just started.");
            await a.Engine.ServeAsync(1, peerIsMember: false, stage.Front.NewCompletions(), CancellationToken.None);
            await stage.Front.ServeAsync(a.Volume);
            await stage.Pair.Join();
            return stage;
        }

        public string Shell(int directory, string command)
        {
            using var process = Process.Start(new ProcessStartInfo("/bin/bash", ["-c", "set -e -o pipefail; " + command])
            {
                WorkingDirectory = Paths[directory], RedirectStandardOutput = true, RedirectStandardError = true,
            })!;
            var errors = process.StandardError.ReadToEndAsync();
            var output = process.StandardOutput.ReadToEnd();
            Assert.True(process.WaitForExit(TimeSpan.FromSeconds(60)) && process.ExitCode == 0, $"'{command}': {errors.Result}");
            return output.TrimEnd('\n');
        }

        public async Task AssertEqualAsync()
        {
            await Front.SettleAsync();
            Assert.Equal(2, Held.Keys.Intersect(["c1/m", "c1/m/2"]).Count());
            Assert.True(Pair.A.Engine.Status.SessionUp);
            await CloseAsync();
            await Pair.B.Engine.StopFollowingAsync();
            for (var i = 0; i < Paths.Length; i++)
                Assert.Equal(ReplicationPair.Describe(Paths[i]), ReplicationPair.Describe(OnB[i]));
        }

        /// <summary>Shuts the volume and takes the mounts away.</summary>
        public async Task CloseAsync()
        {
            if (_closed)
                return;
            _closed = true;
            await Front.CoverAsync();
            await Pair.A.Engine.StopServingAsync();
            await Front.CloseAsync();
        }

        public async ValueTask DisposeAsync()
        {
            await CloseAsync();
            await Pair.DisposeAsync();
            _disk.Dispose();
            _directory.Dispose();
        }
    }
}
