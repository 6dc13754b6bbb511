using System.Net;
using System.Net.Sockets;
using Pollux.DataPlane.Checkers;
using Pollux.DataPlane.Core.Checkers;
using Pollux.DataPlane.Core.Roles;
using Pollux.DataPlane.Hypervisor;
using Pollux.Tests.Unit.Hosts;

namespace Pollux.Tests.Unit.Checkers;

/// <summary>The tests themselves: real sockets and programs; the guest's agent by a hypervisor in memory.</summary>
public sealed class HostProbeTests : IDisposable
{
    private const string NotConfigured = "argument unsupported: QEMU guest agent is not configured";
    private const string NotConnected = "Guest agent is not responding: QEMU guest agent is not connected";
    private const string TimedOut = "guest agent command timed out: guest agent didn't respond to command within '3' seconds";
    private readonly string _directory = Directory.CreateTempSubdirectory("pollux-checkers-").FullName;
    private readonly FakeHypervisor _hypervisor = new();

    [Fact]
    public async Task A_port_that_accepts_is_well_and_one_that_does_not_has_failed()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var target = $"127.0.0.1:{((IPEndPoint)listener.LocalEndpoint).Port}";
        Assert.Equal(CheckResult.Well, await TestAsync(CheckerKind.Tcp, target));
        listener.Stop();
        var failed = await TestAsync(CheckerKind.Tcp, target);
        Assert.Equal(CheckOutcome.Failed, failed.Outcome);
        Assert.Contains(target, failed.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_guests_agent_may_answer_be_silent_or_be_out_of_reach()
    {
        Assert.Equal(CheckResult.Well, await TestAsync(CheckerKind.Guest, ""));
        _hypervisor.Instead["ping-guest"] = new HypervisorAnswer(CallOutcome.Refused, NotConnected);
        Assert.Equal(CheckOutcome.Failed, (await TestAsync(CheckerKind.Guest, "")).Outcome);
        _hypervisor.Instead["ping-guest"] = new HypervisorAnswer(CallOutcome.Refused, TimedOut);
        Assert.Equal(CheckOutcome.Failed, (await TestAsync(CheckerKind.Guest, "")).Outcome);
        _hypervisor.Instead["ping-guest"] = new HypervisorAnswer(CallOutcome.Refused, NotConfigured);
        var unable = await TestAsync(CheckerKind.Guest, "");
        Assert.Equal(CheckOutcome.Unable, unable.Outcome);
        Assert.Contains("not configured", unable.Reason, StringComparison.Ordinal);
        // libvirt's own silence is not the guest's.
        _hypervisor.Instead["ping-guest"] = new HypervisorAnswer(CallOutcome.Unknown, "virsh did not end within 6 s");
        Assert.Equal(CheckOutcome.Unable, (await TestAsync(CheckerKind.Guest, "")).Outcome);
    }

    [Fact]
    public async Task A_script_says_by_its_exit_code_and_its_words_and_learns_which_module_it_is_about()
    {
        Write("well", "[ \"$1 $2\" = \"c/m vm1\" ]");
        Write("ill", "echo disk full >&2; exit 3");
        Assert.Equal(CheckResult.Well, await TestAsync(CheckerKind.Script, "well", timeoutMs: 30_000));
        Assert.Equal(CheckResult.Failed("ill exits with 3: disk full"), await TestAsync(CheckerKind.Script, "ill", timeoutMs: 30_000));
    }

    [Fact]
    public async Task A_script_that_does_not_end_is_killed_at_its_timeout_and_has_failed()
    {
        var mark = Path.Combine(_directory, "ended");
        Write("hangs", $"sleep 300; touch {mark}");
        var result = await TestAsync(CheckerKind.Script, "hangs", timeoutMs: 200);
        Assert.Equal(CheckOutcome.Failed, result.Outcome);
        Assert.Contains("killed", result.Reason, StringComparison.Ordinal);
        Assert.False(File.Exists(mark));
    }

    [Fact]
    public async Task A_script_that_is_missing_not_executable_or_writable_by_others_is_not_run()
    {
        Assert.Equal(CheckOutcome.Unable, (await TestAsync(CheckerKind.Script, "none")).Outcome);
        Assert.Equal(CheckOutcome.Unable, (await TestAsync(CheckerKind.Script, "../well")).Outcome);
        var mark = Path.Combine(_directory, "ran");
        var path = Write("open", $"touch {mark}");
        File.SetUnixFileMode(path, File.GetUnixFileMode(path) | UnixFileMode.OtherWrite);
        Assert.Equal(CheckOutcome.Unable, (await TestAsync(CheckerKind.Script, "open")).Outcome);
        File.SetUnixFileMode(path, UnixFileMode.UserRead);
        Assert.Contains("not executable", (await TestAsync(CheckerKind.Script, "open")).Reason, StringComparison.Ordinal);
        Assert.False(File.Exists(mark));
    }

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    private Task<CheckResult> TestAsync(CheckerKind kind, string target, long timeoutMs = 5_000) =>
        new HostProbe("c/m", "vm1", _hypervisor, _directory).TestAsync(new CheckerSpec("x", kind, target, 1_000, timeoutMs, 1, 0, CheckAction.Restart), CancellationToken.None);

    private string Write(string name, string body)
    {
        var path = Path.Combine(_directory, name);
        File.WriteAllText(path, "#!/bin/sh\n" + body + "\n");
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        return path;
    }
}
