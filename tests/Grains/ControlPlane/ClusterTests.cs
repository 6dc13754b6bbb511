using Pollux.Grains.Abstractions;
using Pollux.Grains.Core;

namespace Pollux.Tests.Grains.ControlPlane;

public sealed class ClusterTests(ControlPlaneHost host) : IClassFixture<ControlPlaneHost>
{
    [Theory]
    [InlineData("Upper")]
    [InlineData("-front")]
    [InlineData("back-")]
    [InlineData("a/b")]
    [InlineData("with space")]
    [InlineData("name-of-more-than-forty-characters-is-too-long")]
    public async Task A_bad_name_is_refused_and_nothing_is_listed(string name)
    {
        Assert.Equal("name.invalid", (await host.Grains.GetGrain<IClusterGrain>(name).CreateAsync(ClusterPolicy.Default)).Problem!.Code);
        Assert.DoesNotContain(name, await host.Grains.GetGrain<IFleetGrain>(IFleetGrain.Key).ListAsync());
    }

    [Fact]
    public async Task A_cluster_is_created_once_and_listed()
    {
        var name = Pair.NewName();
        var cluster = host.Grains.GetGrain<IClusterGrain>(name);
        Assert.Null((await cluster.CreateAsync(ClusterPolicy.Default)).Problem);
        Assert.Equal("cluster.exists", (await cluster.CreateAsync(ClusterPolicy.Default)).Problem!.Code);
        Assert.Contains(name, await host.Grains.GetGrain<IFleetGrain>(IFleetGrain.Key).ListAsync());
    }

    [Theory]
    [InlineData(1_999, 32, "cluster.detection")]
    [InlineData(3_000_000, 32, "cluster.detection")]
    [InlineData(3_000, 0, "cluster.modules-max")]
    [InlineData(3_000, 1_000, "cluster.modules-max")]
    public async Task A_policy_out_of_range_is_refused(long detectionMs, int modulesMax, string code)
    {
        var cluster = host.Grains.GetGrain<IClusterGrain>(Pair.NewName());
        Assert.Equal(code, (await cluster.CreateAsync(new ClusterPolicy(detectionMs, modulesMax))).Problem!.Code);
        Assert.Null(await cluster.ReadAsync());
    }

    [Fact]
    public async Task The_policy_of_the_link_reaches_the_hosts()
    {
        var plain = await host.PairAsync(ClusterPolicy.Default with { Link = LinkSecurity.Plaintext });
        Assert.Equal(LinkSecurity.Plaintext, (await plain.A.DesiredAsync()).Link);
        Assert.Equal(LinkSecurity.Tls, (await (await host.PairAsync()).A.DesiredAsync()).Link);
    }

    [Fact]
    public async Task A_host_is_added_once_and_a_third_not_at_all()
    {
        var pair = await host.PairAsync();
        Assert.Equal("host.exists", (await pair.Cluster.AddHostAsync("a")).Problem!.Code);
        Assert.Equal("cluster.full", (await pair.Cluster.AddHostAsync("c")).Problem!.Code);
        Assert.Equal("host.unknown", (await host.Grains.GetGrain<IHostGrain>(GrainKey.Of(pair.Name, "c")).IssueTokenAsync()).Problem!.Code);
    }

    [Fact]
    public async Task A_module_needs_both_hosts()
    {
        var name = Pair.NewName();
        var cluster = host.Grains.GetGrain<IClusterGrain>(name);
        await cluster.CreateAsync(ClusterPolicy.Default);
        await cluster.AddHostAsync("a");
        var refused = await host.Grains.GetGrain<IMirrorModuleGrain>(GrainKey.Of(name, "web")).CreateAsync(Pair.Spec(), Guid.NewGuid());
        Assert.Equal("cluster.incomplete", refused.Problem!.Code);
    }

    [Fact]
    public async Task What_belongs_to_no_cluster_is_refused()
    {
        var nowhere = Pair.NewName();
        Assert.Equal("cluster.unknown", (await host.Grains.GetGrain<IClusterGrain>(nowhere).AddHostAsync("a")).Problem!.Code);
        var module = host.Grains.GetGrain<IMirrorModuleGrain>(GrainKey.Of(nowhere, "web"));
        Assert.Equal("cluster.unknown", (await module.CreateAsync(Pair.Spec(), Guid.NewGuid())).Problem!.Code);
        Assert.Equal(ModulePhase.None, (await module.ReadAsync()).Phase);
    }

    [Fact]
    public async Task A_host_that_joined_one_cluster_is_nobody_in_another()
    {
        var (one, two) = (await host.PairAsync(), await host.PairAsync());
        var outcome = await host.Grains.GetGrain<IHostGrain>(two.A.Key).OpenSessionAsync(
            new HostSession(Guid.NewGuid(), Guid.NewGuid(), one.A.PublicKeyHash, "0.1", "x:1", "x:2", 1, 1, null),
            host.Grains.CreateObjectReference<IHostSessionObserver>(one.A));
        Assert.Equal("host.certificate-replaced", outcome.Problem!.Code);
    }
}
