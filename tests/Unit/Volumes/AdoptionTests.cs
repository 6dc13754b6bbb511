using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using Pollux.DataPlane.Fuse;
using Pollux.DataPlane.Native;
using Pollux.DataPlane.Storage;
using Pollux.DataPlane.Volumes;
using Pollux.Tests.Unit.Fuse;

namespace Pollux.Tests.Unit.Volumes;

/// <summary>A process that serves is killed; this one goes on with its connection, by the descriptors that it sent before.</summary>
public sealed class AdoptionTests
{
    private static readonly int[] KillsAfterMs = [400, 150, 320, 90, 610];

    [FuseFact]
    public Task Calls_in_flight_when_the_serving_process_dies_end_once_and_right_if_nothing_of_them_was_done() => AdoptAsync(Stall.BeforeItIsDone);

    [FuseFact]
    public Task Calls_in_flight_when_the_serving_process_dies_end_once_and_right_if_all_was_done_but_the_answer() => AdoptAsync(Stall.AfterItIsDone);

    [FuseFact]
    public void Users_at_full_speed_do_not_notice_that_one_serving_process_after_the_other_is_killed()
    {
        var parent = Directory.CreateTempSubdirectory("pollux-adopt-").FullName;
        var (directory, state) = (Directory.CreateDirectory(Path.Combine(parent, "module")).FullName, Path.Combine(parent, "state"));
        using var holder = DescriptorSocket.Create();
        holder.Bind(new UnixDomainSocketEndPoint(Path.Combine(parent, "holder")));
        holder.Listen();
        Child? server = null, user = null;
        FuseConnection? connection = null;
        try
        {
            CoveredDirectory? covered = null;
            for (var epoch = 1; epoch <= KillsAfterMs.Length + 1; epoch++)
            {
                server = new Child("serve-on-loop", directory, state, Path.Combine(parent, "holder"), $"{epoch}");
                using (var socket = holder.Accept())
                {
                    if (epoch == 1)
                        (covered, connection) = ServingProcess.Take(socket);
                    else
                        ServingProcess.Give(socket, covered!, connection!);
                    server.Expect("ready");
                }

                if (user is null)
                {
                    user = new Child("hammer-mount", directory);
                    user.Expect("hammering");
                }

                if (epoch > KillsAfterMs.Length)
                    break;
                // At any moment of its work.
                Thread.Sleep(KillsAfterMs[epoch - 1]);
                server.Kill();
            }

            user!.EndInput();
            var results = MountHammer.Workers.Select(_ => RoundsOf(user.Next())).ToDictionary();
            user.Join();
            Assert.Equal(MountHammer.Workers.ToHashSet(), results.Keys.ToHashSet());
            // The kernel remembers names as it believes them to be: how often they were exchanged is seen under the mount.
            Assert.Equal($"{(results["exchange"] - 1) % 2}", File.ReadAllText(Under(covered!) + "/exchange/first"));
            foreach (var empty in new[] { "names", "directories" })
                Assert.Empty(Directory.EnumerateFileSystemEntries(Path.Combine(Under(covered!), empty)));
        }
        finally
        {
            server?.Kill();
            foreach (var device in connection?.Devices ?? [])
                device.Dispose();
            user?.Kill();
            CoveredDirectory.Open(directory, FuseSandbox.Timeout).Uncover();
            Directory.Delete(parent, recursive: true);
        }
    }

    private static async Task AdoptAsync(Stall stall)
    {
        var parent = Directory.CreateTempSubdirectory("pollux-adopt-").FullName;
        var (directory, state) = (Directory.CreateDirectory(Path.Combine(parent, "module")).FullName, Path.Combine(parent, "state"));
        using var holder = DescriptorSocket.Create();
        holder.Bind(new UnixDomainSocketEndPoint(Path.Combine(parent, "holder")));
        holder.Listen();
        var server = new Child("serve-volume", directory, state, Path.Combine(parent, "holder"));
        Child? user = null;
        FuseSession? session = null;
        try
        {
            server.Expect("ready");
            using var sender = holder.Accept();
            var (covered, connection) = ServingProcess.Take(sender);
            user = new Child("use-mount", directory);
            user.Expect("prepared");

            server.Say($"{stall}");
            server.Expect("stalling");
            user.Say("go");
            var held = MountUser.Calls.Select(_ => server.Next()).ToList();
            Assert.All(held, line => Assert.StartsWith("held ", line));
            server.Kill();

            var completions = new FuseCompletions();
            await using var engine = new LoneEngine(state, () => ObjectStore.Open(covered.Handle, new ObjectStoreOptions { KeepsUnlinked = true }));
            var volume = await engine.ServeAsync(epoch: 2, completions);
            session = FuseSession.Adopt(covered, connection, new FuseVolume(volume, completions) { GoesOn = true, Exchanges = ServingProcess.Exchanges(state) },
                FuseVolume.SessionOptions("vm1"), ((ILoopVolume)volume).Loop);

            var results = MountUser.Calls.Select(_ => user.Next()).ToHashSet();
            Assert.Equal(MountUser.Calls.Select(static name => $"{name}: ok").ToHashSet(), results);
            user.Say("go on");
            user.Expect("unlinked: ok");
            user.Expect("unlinked later: ok");
            user.Expect("done");
            JudgeTree(directory);
            // The kernel remembers names as it believes them to be.
            JudgeTree(Under(covered));
            user.Say("end");
            user.Join();

            Assert.Equal(UnmountOutcome.Clean, session.Stop(FuseSandbox.Timeout));
            Assert.Null(session.FaultCause);
            Assert.Empty(engine.Faults);
            session = null;
            // What the users had open without a name is gone with their last use, or with the next opening of the store.
            using (ObjectStore.Open(covered.Handle))
                Assert.Empty(Directory.EnumerateFileSystemEntries(Under(covered) + "/.pollux/unlinked"));
            covered.Uncover();
            covered.Dispose();
        }
        finally
        {
            server.Kill();
            session?.Stop(FuseSandbox.Timeout);
            user?.Kill();
            CoveredDirectory.Open(directory, FuseSandbox.Timeout).Uncover();
            Directory.Delete(parent, recursive: true);
        }
    }

    private static KeyValuePair<string, long> RoundsOf(string line)
    {
        Assert.Contains(": ok after ", line, StringComparison.Ordinal);
        var words = line.Split(": ok after ");
        return new(words[0], long.Parse(words[1], CultureInfo.InvariantCulture));
    }

    private static string Under(CoveredDirectory covered) => $"/proc/self/fd/{covered.Handle.DangerousGetHandle()}";

    private static void JudgeTree(string root)
    {
        Assert.Equal(MountUser.Block(2), File.ReadAllBytes(root + "/write/f"));
        Assert.Equal(100, new FileInfo(root + "/truncate/f").Length);
        Assert.Equal("content", File.ReadAllText(root + "/create/new"));
        Assert.Equal("content", File.ReadAllText(root + "/create-exclusive/new"));
        Assert.True(Directory.Exists(root + "/mkdir/new"));
        Assert.Equal("target", new FileInfo(root + "/symlink/new").LinkTarget);
        Assert.Equal("linked", File.ReadAllText(root + "/link/new"));
        Assert.Equal(["new"], Names("rename"));
        Assert.Equal(["new"], Names("rename-over"));
        Assert.Equal("renamed", File.ReadAllText(root + "/rename-over/new"));
        Assert.Equal(("replaced", "renamed"), (File.ReadAllText(root + "/exchange/old"), File.ReadAllText(root + "/exchange/new")));
        Assert.Empty(Names("unlink"));
        Assert.Empty(Names("rmdir"));

        string[] Names(string call) => [.. Directory.EnumerateFileSystemEntries(Path.Combine(root, call)).Select(path => Path.GetFileName(path)!)];
    }

    /// <summary>This program again, in another process.</summary>
    private sealed class Child
    {
        private readonly Process _process;
        private readonly BlockingCollection<string> _lines = [];

        public Child(params string[] arguments)
        {
            _process = Process.Start(new ProcessStartInfo("dotnet", [typeof(AdoptionTests).Assembly.Location, .. arguments])
            {
                RedirectStandardInput = true,
                RedirectStandardOutput = true,
            })!;
            _process.OutputDataReceived += (_, line) =>
            {
                if (line.Data is { } text)
                    _lines.Add(text);
                else
                    _lines.CompleteAdding();
            };
            _process.BeginOutputReadLine();
        }

        public void Say(string line) => _process.StandardInput.WriteLine(line);

        public void EndInput() => _process.StandardInput.Close();

        public string Next() => _lines.TryTake(out var line, FuseSandbox.Timeout) ? line : throw new TimeoutException("The process says nothing.");

        public void Expect(string line) => Assert.Equal(line, Next());

        public void Join() => Assert.True(_process.WaitForExit(FuseSandbox.Timeout), "The process does not end.");

        public void Kill()
        {
            if (!_process.HasExited)
                _process.Kill();
            _process.WaitForExit();
        }
    }
}
