using Pollux.Grains.Abstractions;
using Pollux.Grains.Core;
using Pollux.Grains.State;
using Pollux.Tests.Grains.Hosting;

namespace Pollux.Tests.Grains.ControlPlane;

public sealed class HostTests(ControlPlaneHost host) : IClassFixture<ControlPlaneHost>
{
    [Fact]
    public async Task A_token_lets_one_key_in_once()
    {
        var (grain, token) = await AddedAsync();
        Assert.Equal("host.token", (await grain.JoinAsync("wrong", "key-1")).Problem!.Code);
        Assert.Null((await grain.JoinAsync(token.Secret!, "key-1")).Problem);
        Assert.Null((await grain.JoinAsync(token.Secret!, "key-1")).Problem); // The first answer may have been lost.
        Assert.Equal("host.token", (await grain.JoinAsync(token.Secret!, "key-2")).Problem!.Code);
        Assert.True((await grain.ReadAsync()).Joined);
    }

    [Fact]
    public async Task A_new_token_voids_the_one_before()
    {
        var (grain, first) = await AddedAsync();
        var second = await grain.IssueTokenAsync();
        Assert.Equal("host.token", (await grain.JoinAsync(first.Secret!, "key")).Problem!.Code);
        Assert.Null((await grain.JoinAsync(second.Secret!, "key")).Problem);
    }

    [Fact]
    public void A_token_ends_after_an_hour()
    {
        var issued = JoinTokens.Issue(new HostState(), "secret", nowUnixMs: 1_000);
        Assert.Null(JoinTokens.Redeem("c/h", issued, "secret", "key", 1_000 + JoinTokens.LifetimeMs - 1).Problem);
        Assert.Contains("expired", JoinTokens.Redeem("c/h", issued, "secret", "key", 1_000 + JoinTokens.LifetimeMs).Problem!.Cause, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_secret_is_not_stored()
    {
        await using var own = await TestGrainHost.StartAsync();
        var cluster = own.Grains.GetGrain<IClusterGrain>("c");
        await cluster.CreateAsync(ClusterPolicy.Default);
        var token = await cluster.AddHostAsync("a");
        await own.StopAsync();
        foreach (var file in Directory.GetFiles(Path.GetDirectoryName(own.DatabasePath)!))
            Assert.DoesNotContain(token.Secret!, System.Text.Encoding.Latin1.GetString(await File.ReadAllBytesAsync(file)), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_host_that_is_unknown_has_not_joined_or_has_another_key_gets_no_session()
    {
        var unknown = new PlayedHost(() => host.Grains, "nowhere/a");
        Assert.Equal("host.unknown", (await unknown.OpenAsync("key")).Problem!.Code);
        var (grain, token) = await AddedAsync();
        var added = new PlayedHost(() => host.Grains, (await grain.ReadAsync()).Host);
        Assert.Equal("host.not-joined", (await added.OpenAsync("key")).Problem!.Code);
        await grain.JoinAsync(token.Secret!, "key");
        Assert.Equal("host.certificate-replaced", (await added.OpenAsync("other")).Problem!.Code);
        Assert.Null((await added.OpenAsync("key")).Problem);
    }

    [Fact]
    public async Task Joining_anew_ends_the_session_of_the_former_key()
    {
        var pair = await host.PairAsync();
        var session = await pair.A.ConnectAsync();
        var token = await pair.A.Grain.IssueTokenAsync();
        await pair.A.Grain.JoinAsync(token.Secret!, "new-key");
        Assert.False((await pair.A.Grain.ReadAsync()).Connected);
        Assert.Equal(SessionStanding.Forgotten, (await pair.A.Grain.DesiredAsync(session)).Standing);
        Assert.Equal("host.certificate-replaced", (await pair.A.OpenAsync(pair.A.PublicKeyHash)).Problem!.Code);
    }

    [Fact]
    public async Task A_second_session_supersedes_the_first()
    {
        var pair = await host.PairAsync();
        var first = await pair.A.ConnectAsync();
        var second = await pair.A.ConnectAsync();
        Assert.Equal(SessionStanding.Superseded, (await pair.A.Grain.DesiredAsync(first)).Standing);
        Assert.Equal(SessionStanding.Superseded, await pair.A.Grain.ReportAsync(first, new HostReport(0, false, [])));
        await pair.A.Grain.CloseSessionAsync(first);
        Assert.Equal(SessionStanding.Current, (await pair.A.Grain.DesiredAsync(second)).Standing);
    }

    [Fact]
    public async Task Each_host_learns_the_addresses_of_the_other_also_after_a_restart()
    {
        await using var own = await TestGrainHost.StartAsync();
        var pair = await Pair.CreateAsync(() => own.Grains);
        await own.RestartAsync();
        await pair.A.ConnectAsync(); // B has not come back yet.
        var desired = await pair.A.DesiredAsync();
        Assert.Equal(pair.B.Key, desired.Peer);
        Assert.Equal(new HostAddresses($"{pair.B.Key}:7410", $"{pair.B.Key}:7411"), desired.PeerAddresses);
        Assert.False((await pair.B.Grain.ReadAsync()).Connected);
    }

    [Fact]
    public async Task The_version_of_desired_state_never_goes_back()
    {
        await using var own = await TestGrainHost.StartAsync();
        var pair = await Pair.CreateAsync(() => own.Grains);
        await pair.ModuleAsync();
        var before = (await pair.A.DesiredAsync()).Version;
        await own.RestartAsync();
        await pair.A.ConnectAsync();
        Assert.Equal(before, (await pair.A.DesiredAsync()).Version);
        await pair.Module("web").SetRunAsync(true);
        Assert.Equal(before + 1, (await pair.A.DesiredAsync()).Version);
    }

    [Fact]
    public async Task What_a_host_says_of_its_VM_is_known_and_the_one_that_runs_it_counts()
    {
        var pair = await host.PairAsync();
        await pair.ModuleAsync();
        var vm = host.Grains.GetGrain<IVmGrain>(GrainKey.Of(pair.Name, "web"));
        await pair.A.SayAsync(order => PlayedHost.Report(order) with { VmState = "running", Record = order.Record with { Epoch = 2 } });
        await pair.B.SayAsync(order => PlayedHost.Report(order) with { VmState = "stopped", Record = order.Record with { Epoch = 2 } });
        Assert.Equal(("running", pair.A.Key), await WhereAsync(vm));
        await pair.B.SayAsync(order => PlayedHost.Report(order) with { VmState = "running", Record = order.Record with { Epoch = 3 } });
        Assert.Equal(("running", pair.B.Key), await WhereAsync(vm));
        await pair.A.SayAsync(order => PlayedHost.Report(order) with { VmState = "paused", Record = order.Record with { Epoch = 2 } });
        Assert.Equal(("running", pair.B.Key), await WhereAsync(vm));
    }

    private static async Task<(string, string)> WhereAsync(IVmGrain vm) => await vm.ReadAsync() is { } view ? (view.State, view.Host) : ("", "");

    private async Task<(IHostGrain, JoinTokenIssued)> AddedAsync()
    {
        var name = Pair.NewName();
        var cluster = host.Grains.GetGrain<IClusterGrain>(name);
        await cluster.CreateAsync(ClusterPolicy.Default);
        return (host.Grains.GetGrain<IHostGrain>(GrainKey.Of(name, "a")), await cluster.AddHostAsync("a"));
    }
}
