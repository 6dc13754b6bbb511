using System.Collections.Immutable;
using System.ComponentModel;
using Pollux.DataPlane.Core.Fencing;
using Pollux.DataPlane.Fencing;
using Pollux.DataPlane.Hypervisor;

namespace Pollux.Tests.Unit.Fencing;

public sealed class FenceAgentTests : IDisposable
{
    private const string Secret = "s3cret=x";
    private readonly string _directory = Directory.CreateTempSubdirectory("pollux-fence-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public async Task An_agent_gets_its_parameters_by_standard_input_only()
    {
        var seen = Path.Combine(_directory, "seen");
        var agent = Agent($"""cat > {seen}; echo "args:$*" >> {seen}; exit 0""", ("ip", "10.0.0.9"), ("password", Secret));
        Assert.Equal(FenceOutcome.Done, (await agent.FenceAsync(CancellationToken.None)).Outcome);
        Assert.Equal(["action=off", "ip=10.0.0.9", "password=" + Secret, "args:"], File.ReadAllLines(seen));
    }

    [Fact]
    public async Task An_agent_that_fails_is_no_success_and_its_words_hold_no_secret()
    {
        var agent = Agent("""cat >&2; echo "cannot log in" >&2; exit 1""", ("password", Secret));
        var answer = await agent.FenceAsync(CancellationToken.None);
        Assert.Equal(FenceOutcome.Refused, answer.Outcome);
        Assert.Contains("exit code 1", answer.Text);
        Assert.Contains("cannot log in", answer.Text);
        Assert.DoesNotContain(Secret, answer.Text);
        Assert.DoesNotContain(Secret, new FenceAgentOptions("/x", new Dictionary<string, string> { ["password"] = Secret }.ToImmutableSortedDictionary()).ToString());
    }

    [Fact]
    public async Task An_agent_that_does_not_end_has_an_unknown_outcome()
    {
        var agent = new FenceAgent(Options("cat > /dev/null; exec sleep 600") with { DeadlineSeconds = 1 });
        var answer = await agent.FenceAsync(CancellationToken.None);
        Assert.Equal(FenceOutcome.Unknown, answer.Outcome);
        Assert.Contains("did not end within 1 s", answer.Text);
    }

    [Fact]
    public async Task An_agent_that_ends_without_reading_its_input_is_judged_by_its_exit_code()
    {
        var parameters = Enumerable.Range(0, 60).ToDictionary(static number => $"p{number}", static _ => new string('x', 1_000)).ToImmutableSortedDictionary();
        Assert.Equal(FenceOutcome.Done, (await new FenceAgent(Options("exit 0") with { Parameters = parameters }).FenceAsync(CancellationToken.None)).Outcome);
        var refused = await new FenceAgent(Options("exec <&-; exit 3") with { Parameters = parameters }).FenceAsync(CancellationToken.None);
        Assert.Equal(FenceOutcome.Refused, refused.Outcome);
        Assert.Contains("exit code 3", refused.Text);
    }

    [Fact]
    public void An_agent_that_cannot_be_killed_is_no_exception()
    {
        Assert.Null(ChildProcess.WhyNotEnded(static () => { }));
        Assert.Contains("Operation not permitted", ChildProcess.WhyNotEnded(static () => throw new AggregateException(new Win32Exception(1))));
        Assert.NotNull(ChildProcess.WhyNotEnded(static () => throw new InvalidOperationException("It has ended.")));
    }

    [Fact]
    public async Task A_power_switch_that_says_off_answers_a_check_and_any_other_exit_is_none()
    {
        Assert.Equal(FenceOutcome.Done, (await Agent("cat >/dev/null; echo 'Status: OFF'; exit 2").CheckAsync(CancellationToken.None)).Outcome);
        Assert.Equal(FenceOutcome.Refused, (await Agent("cat >/dev/null; exit 2").FenceAsync(CancellationToken.None)).Outcome);
        Assert.Equal(FenceOutcome.Refused, (await Agent("cat >/dev/null; exit 1").CheckAsync(CancellationToken.None)).Outcome);
    }

    [Fact]
    public void What_would_smuggle_a_line_into_the_agents_input_is_refused()
    {
        Assert.Null(Options("exit 0", ("ip", "10.0.0.9")).Refusal());
        Assert.Contains("control characters", Options("exit 0", ("ip", "x\naction=on")).Refusal());
        Assert.Contains("no name", Options("exit 0", ("ip=x", "y")).Refusal());
        Assert.Contains("given by itself", Options("exit 0", ("action", "on")).Refusal());
        Assert.Contains("can be off or reboot", (Options("exit 0") with { Action = "on" }).Refusal());
        Assert.Contains("whole path", (Options("exit 0") with { Program = "fence_dummy" }).Refusal());
    }

    /// <summary>In the form of the agents of the Debian package 4.12.1 (fence_virsh, fence_ipmilan).</summary>
    private const string Metadata = """
        <?xml version="1.0" ?>
        <resource-agent name="fence_example" shortdesc="Fence agent" >
        <symlink name="fence_other" shortdesc="Another"/>
        <longdesc>Long.</longdesc>
        <parameters>
        	<parameter name="action" unique="0" required="1"><content type="string" default="reboot"  /></parameter>
        	<parameter name="ip" unique="0" required="1" obsoletes="ipaddr"><content type="string"  /></parameter>
        	<parameter name="ipaddr" unique="0" required="0" deprecated="1"><content type="string"  /></parameter>
        	<parameter name="power_timeout" unique="0" required="0"><content type="second" default="20"  /></parameter>
        </parameters>
        <actions>
        	<action name="on" automatic="0"/>
        	<action name="off" />
        	<action name="reboot" />
        	<action name="metadata" />
        </actions>
        </resource-agent>
        """;

    [Fact]
    public void An_agent_that_is_set_up_wrongly_is_seen_by_its_metadata()
    {
        var metadata = FenceAgentMetadata.Parse(Metadata);
        Assert.Equal("fence_example", metadata.Name);
        Assert.Null(metadata.Refuse("off", ["ip"]));
        Assert.Null(metadata.Refuse("off", ["ipaddr", "power-timeout"]));
        Assert.Contains("needs 'ip'", metadata.Refuse("off", []));
        Assert.Contains("no parameter 'pasword'", metadata.Refuse("off", ["ip", "pasword"]));
        Assert.Contains("no action 'melt'", metadata.Refuse("melt", ["ip"]));
        Assert.Throws<FormatException>(() => FenceAgentMetadata.Parse("<html/>"));
        Assert.Throws<FormatException>(() => FenceAgentMetadata.Parse("Traceback (most recent call last)"));
        Assert.Throws<FormatException>(() => FenceAgentMetadata.Parse("<!DOCTYPE a [<!ENTITY b \"c\">]><resource-agent name=\"&b;\"/>"));
    }

    [Fact]
    public void A_file_with_secrets_that_others_may_read_or_with_an_unknown_word_is_refused()
    {
        Assert.Same(FencingOptions.None, FencingOptions.Load(_directory));
        var program = Script("exit 0");
        var path = Path.Combine(_directory, FencingOptions.FileName);
        File.WriteAllText(path, $$"""{ "agent": { "program": "{{program}}", "parameters": { "password": "{{Secret}}" } }, "stopSeconds": 90 }""");
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead);
        Assert.Contains("chmod 600", Assert.Throws<FormatException>(() => FencingOptions.Load(_directory)).Message);
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        var options = FencingOptions.Load(_directory);
        Assert.Equal((90, "off", 60, Secret), (options.StopSeconds, options.Agent!.Action, options.Agent.DeadlineSeconds, options.Agent.Parameters!["password"]));

        File.WriteAllText(path, $$"""{ "agent": { "program": "{{program}}", "pasword": "{{Secret}}" } }""");
        var refusal = Assert.Throws<FormatException>(() => FencingOptions.Load(_directory)).Message;
        Assert.DoesNotContain(Secret, refusal);
        File.WriteAllText(path, """{ "watchdog": { "device": null } }""");
        Assert.Contains("at line 1", Assert.Throws<FormatException>(() => FencingOptions.Load(_directory)).Message);
        File.WriteAllText(path, $$"""{ "agent": { "program": "{{program}}", "parameters": { "password": null } } }""");
        Assert.Contains("'password' is missing", Assert.Throws<FormatException>(() => FencingOptions.Load(_directory)).Message);
        File.WriteAllText(path, """{ "watchdog": { "device": "/dev/no-such-watchdog" } }""");
        Assert.Contains("does not exist", Assert.Throws<FormatException>(() => FencingOptions.Load(_directory)).Message);
        File.WriteAllText(path, """{ "watchdog": { "device": "/dev/no-such-watchdog", "required": false, "timeoutSeconds": 5 } }""");
        Assert.Equal(5_000, FencingOptions.Load(_directory).Watchdog!.TimeoutMs);
    }

    [Fact]
    public void A_watchdog_that_cannot_be_stopped_is_refused_without_opening_it()
    {
        var (device, name) = (Path.Combine(_directory, "watchdog"), Path.Combine(_directory, "class", "watchdog0"));
        File.WriteAllText(device, "");
        Assert.Contains("cannot be read", KernelWatchdog.Refusal(device, Path.Combine(_directory, "class")));
        Directory.CreateDirectory(name);
        File.WriteAllText(Path.Combine(name, "nowayout"), "1\n");
        Assert.Contains("nowayout=0", KernelWatchdog.Refusal(device, Path.Combine(_directory, "class")));
        File.WriteAllText(Path.Combine(name, "nowayout"), "0\n");
        Assert.Null(KernelWatchdog.Refusal(device, Path.Combine(_directory, "class")));
    }

    private FenceAgent Agent(string script, params (string Name, string Value)[] parameters) => new(Options(script, parameters));

    private FenceAgentOptions Options(string script, params (string Name, string Value)[] parameters) =>
        new(Script(script), parameters.ToImmutableSortedDictionary(static one => one.Name, static one => one.Value));

    private string Script(string script)
    {
        var path = Path.Combine(_directory, "agent-" + Guid.NewGuid().ToString("N"));
        File.WriteAllText(path, $"#!/bin/sh\n{script}\n");
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        return path;
    }
}
