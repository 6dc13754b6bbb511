using System.Text.Json;
using Pollux.Gateway.Commands;

namespace Pollux.Tests.Unit.Gateway;

public sealed class CommandTests(RunningServer server) : IClassFixture<RunningServer>
{
    [Fact]
    public async Task A_refusal_is_printed_with_code_cause_and_action_and_ends_with_1()
    {
        var cluster = await server.CreateClusterAsync();
        var (code, output, error) = await server.CommandAsync("cluster", "create", cluster);
        Assert.Equal((1, ""), (code, output));
        foreach (var part in new[] { "cluster.exists", "impact", "cause", "action" })
            Assert.Contains(part, error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("module", "fly")]
    [InlineData("module", "start", "no-slash")]
    [InlineData("module", "create", "c/m")]
    [InlineData("module", "wait", "c/m")]
    [InlineData("module", "wait", "c/m", "--state", "happy")]
    [InlineData("module", "wait", "c/m", "--state", "mirrored", "--host", "a")]
    [InlineData("module", "policy", "c/m", "--failover", "perhaps")]
    [InlineData("module", "prim", "c/m")]
    [InlineData("module", "second", "c/m")]
    [InlineData("cluster", "create", "c", "--detection", "soon")]
    public async Task Wrong_usage_ends_with_2(params string[] arguments) => Assert.Equal(2, (await server.CommandAsync(arguments)).Code);

    [Fact]
    public async Task The_token_alone_is_on_the_output()
    {
        var cluster = await server.CreateClusterAsync();
        var (code, output, _) = await server.CommandAsync("host", "add", $"{cluster}/a");
        Assert.Equal(0, code);
        (await server.JoinAsync(output.Trim())).Dispose();
        var json = (await server.CommandAsync("host", "token", $"{cluster}/a", "--json")).Output;
        Assert.Equal($"{cluster}/a", JsonSerializer.Deserialize<JsonElement>(json).GetProperty("host").GetString());
    }

    [Fact]
    public async Task A_server_that_is_not_there_is_named()
    {
        using StringWriter output = new(), error = new();
        var code = await PolluxCommandLine.RunAsync(
            ["status", "--server", "https://127.0.0.1:1", "--token-file", Path.Combine(server.Data, "operator-token"), "--ca-file", Path.Combine(server.Data, "ca.crt")],
            output, error);
        Assert.Equal(1, code);
        Assert.Contains("server.unreachable", error.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Status_names_what_is_missing()
    {
        var cluster = await server.CreateClusterAsync();
        await server.AddHostAsync(cluster, "a");
        var text = (await server.CommandAsync("status", cluster)).Output;
        Assert.Contains($"cluster {cluster}", text, StringComparison.Ordinal);
        Assert.Contains("host.not-joined", text, StringComparison.Ordinal);
        Assert.Contains("1 of two hosts missing", text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("500ms", 500)]
    [InlineData("3s", 3_000)]
    [InlineData("2m", 120_000)]
    [InlineData("1.5s", 1_500)]
    [InlineData("7", 7_000)]
    [InlineData("24h", 86_400_000)]
    public void Durations_are_read(string text, long milliseconds)
    {
        Assert.True(Durations.TryParse(text, out var duration));
        Assert.Equal(milliseconds, duration.TotalMilliseconds);
    }

    [Theory]
    [InlineData("")]
    [InlineData("s")]
    [InlineData("-3s")]
    [InlineData("25h")]
    [InlineData("3d")]
    [InlineData("99999999999s")]
    public void What_is_no_duration_is_refused(string text) => Assert.False(Durations.TryParse(text, out _));
}
