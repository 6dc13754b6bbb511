using Pollux.Grains.Abstractions;
using Pollux.Tests.Grains.Hosting;

namespace Pollux.Tests.Grains.ControlPlane;

public sealed class ModuleLifeTests(ControlPlaneHost host) : IClassFixture<ControlPlaneHost>
{
    private static readonly Problem NoRoom = new("module.no-room", "No room", "Nothing was changed.", "The file system is full.", "Make room.");

    [Fact]
    public async Task A_module_is_active_when_both_hosts_have_accepted_it()
    {
        var pair = await host.PairAsync();
        var module = pair.Module("web");
        await module.CreateAsync(Pair.Spec(), Guid.NewGuid());
        await pair.A.SayAsync(PlayedHost.Accepts);
        Assert.Equal(ModulePhase.Preparing, (await module.ReadAsync()).Phase);
        Assert.Equal(ModulePhase.Preparing, Assert.Single((await pair.B.DesiredAsync()).Modules).Phase);
        await pair.B.SayAsync(PlayedHost.Accepts);
        await Until.FoundAsync(async () => (await module.ReadAsync()).Phase == ModulePhase.Active ? module : null, "the module is active");
        var order = Assert.Single((await pair.B.DesiredAsync()).Modules);
        Assert.Equal((ModulePhase.Active, false), (order.Phase, order.Run));
    }

    [Fact]
    public async Task A_refusal_is_told_and_nothing_is_left()
    {
        var pair = await host.PairAsync();
        var module = pair.Module("web");
        var operation = Guid.NewGuid();
        await module.CreateAsync(Pair.Spec(), operation);
        await pair.A.SayAsync(PlayedHost.Accepts);
        await pair.B.SayAsync(order => PlayedHost.Report(order) with { Preparation = new PreparationReport(false, NoRoom) });
        Assert.Equal(NoRoom, (await Pair.CreationEndAsync(module, operation)).Problem);
        Assert.Equal(ModulePhase.None, (await module.ReadAsync()).Phase);
        Assert.Empty((await pair.Cluster.ReadAsync())!.Modules);
        Assert.Empty((await pair.A.DesiredAsync()).Modules);
        await pair.ModuleAsync("other"); // The directory is free again.
    }

    [Fact]
    public async Task A_verdict_on_a_former_module_of_the_name_does_not_count()
    {
        var pair = await host.PairAsync();
        var module = pair.Module("web");
        var first = Guid.NewGuid();
        await module.CreateAsync(Pair.Spec(), first);
        var stale = await pair.A.DesiredAsync();
        await pair.A.SayAsync(order => PlayedHost.Report(order) with { Preparation = new PreparationReport(false, NoRoom) });
        await Pair.CreationEndAsync(module, first);

        var second = Guid.NewGuid();
        await module.CreateAsync(Pair.Spec(), second);
        await pair.A.DesiredAsync();
        await pair.A.ReportAsync(new HostReport(stale.Version, true, [PlayedHost.Report(stale.Modules[0]) with { Preparation = new PreparationReport(false, NoRoom) }]));
        await pair.B.SayAsync(PlayedHost.Accepts);
        await pair.A.SayAsync(PlayedHost.Accepts);
        Assert.Null((await Pair.CreationEndAsync(module, second)).Problem);
    }

    [Fact]
    public async Task A_host_that_is_away_is_named_as_the_reason()
    {
        var pair = await host.PairAsync();
        await pair.B.CloseAsync();
        var module = pair.Module("web");
        var operation = Guid.NewGuid();
        await module.CreateAsync(Pair.Spec(), operation);
        await pair.A.SayAsync(PlayedHost.Accepts);
        var problem = (await Pair.CreationEndAsync(module, operation)).Problem!;
        Assert.Equal("module.host-silent", problem.Code);
        Assert.Contains(pair.B.Key, problem.Cause, StringComparison.Ordinal);
        Assert.Empty((await pair.Cluster.ReadAsync())!.Modules);
    }

    [Fact]
    public async Task A_creation_goes_on_after_a_restart_in_the_middle()
    {
        await using var own = await TestGrainHost.StartAsync();
        var pair = await Pair.CreateAsync(() => own.Grains);
        var operation = Guid.NewGuid();
        await pair.Module("web").CreateAsync(Pair.Spec(), operation);
        await own.RestartAsync();
        await pair.A.ConnectAsync();
        await pair.B.ConnectAsync();
        await pair.A.SayAsync(PlayedHost.Accepts);
        await pair.B.SayAsync(PlayedHost.Accepts);
        Assert.Null((await Pair.CreationEndAsync(pair.Module("web"), operation)).Problem);
    }

    [Fact]
    public async Task Repeating_a_creation_is_harmless_and_another_one_is_refused()
    {
        var pair = await host.PairAsync();
        var module = pair.Module("web");
        var operation = Guid.NewGuid();
        Assert.Null((await module.CreateAsync(Pair.Spec(), operation)).Problem);
        Assert.Null((await module.CreateAsync(Pair.Spec(), operation)).Problem);
        Assert.Equal("module.preparing", (await module.CreateAsync(Pair.Spec(), Guid.NewGuid())).Problem!.Code);
        await pair.A.SayAsync(PlayedHost.Accepts);
        await pair.B.SayAsync(PlayedHost.Accepts);
        await Pair.CreationEndAsync(module, operation);
        Assert.Equal("module.exists", (await module.CreateAsync(Pair.Spec(), Guid.NewGuid())).Problem!.Code);
    }

    [Theory]
    [InlineData("/vms/web", "/vms/web")]
    [InlineData("/vms/web", "/vms/web/inner")]
    [InlineData("/vms/web/inner", "/vms/web")]
    public async Task A_directory_that_overlaps_one_of_another_module_is_refused(string first, string second)
    {
        var pair = await host.PairAsync();
        await pair.ModuleAsync("one", Pair.Spec(first, "one"));
        var refused = await pair.Module("two").CreateAsync(Pair.Spec(second, "two"), Guid.NewGuid());
        Assert.Equal("module.directory-taken", refused.Problem!.Code);
        Assert.Single((await pair.Cluster.ReadAsync())!.Modules);
    }

    [Fact]
    public async Task Several_directories_are_kept_in_their_order_over_a_restart_and_none_may_touch_another_modules()
    {
        await using var own = await TestGrainHost.StartAsync();
        var pair = await Pair.CreateAsync(() => own.Grains);
        await pair.ModuleAsync("one", Pair.Spec("/vms/one", "one") with { FurtherDirectories = ["/z/one", "/a/one"] });
        await own.RestartAsync();
        Assert.Equal<string>(["/vms/one", "/z/one", "/a/one"], (await pair.Module("one").ReadAsync()).Spec!.Directories);
        Assert.Equal<string>(["/vms/one", "/z/one", "/a/one"], Assert.Single((await pair.Cluster.ReadAsync())!.Modules).Directories);
        Assert.Equal<string>(["/vms/one", "/z/one", "/a/one"], (await pair.Module("one").ReadOrderAsync())!.Spec.Directories);
        foreach (var taken in new[] { "/z/one", "/a", "/a/one/inner" })
            Assert.Equal("module.directory-taken", await RefusalAsync(Pair.Spec("/vms/two", "two") with { FurtherDirectories = ["/free", taken] }));
        Assert.Equal("module.directories-overlap", await RefusalAsync(Pair.Spec("/vms/two", "two") with { FurtherDirectories = ["/free", "/vms"] }));
        Assert.Equal("module.directories-max", await RefusalAsync(Pair.Spec("/d/0", "two") with { FurtherDirectories = [.. Enumerable.Range(1, 8).Select(i => $"/d/{i}")] }));
        Assert.Equal("module.directory-invalid", await RefusalAsync(Pair.Spec("/vms/two", "two") with { FurtherDirectories = ["relative"] }));
        Assert.Equal("module.directories-max", await RefusalAsync(Pair.Spec("/vms/two", "two") with { FurtherDirectories = ["/x" + new string('x', 1020), "/y" + new string('y', 1020), "/z2"] }));

        async Task<string> RefusalAsync(ModuleSpec spec) => (await pair.Module("two").CreateAsync(spec, Guid.NewGuid())).Problem!.Code;
    }

    [Fact]
    public async Task Neighbouring_directories_with_a_common_beginning_do_not_overlap()
    {
        var pair = await host.PairAsync();
        await pair.ModuleAsync("one", Pair.Spec("/vms/web", "one"));
        await pair.ModuleAsync("two", Pair.Spec("/vms/web2", "two"));
    }

    [Fact]
    public async Task A_module_over_the_limit_is_refused()
    {
        var pair = await host.PairAsync(ClusterPolicy.Default with { ModulesMax = 2 });
        await pair.ModuleAsync("one", Pair.Spec("/vms/1", "one"));
        await pair.ModuleAsync("two", Pair.Spec("/vms/2", "two"));
        var refused = await pair.Module("three").CreateAsync(Pair.Spec("/vms/3", "three"), Guid.NewGuid());
        Assert.Equal("module.limit", refused.Problem!.Code);
        Assert.Equal(ModulePhase.None, (await pair.Module("three").ReadAsync()).Phase);
    }

    [Fact]
    public async Task A_domain_that_another_module_has_and_a_foreign_primary_are_refused()
    {
        var pair = await host.PairAsync();
        await pair.ModuleAsync("one", Pair.Spec("/vms/1", "one"));
        Assert.Equal("module.vm-taken", (await pair.Module("two").CreateAsync(Pair.Spec("/vms/2", "one"), Guid.NewGuid())).Problem!.Code);
        var foreign = Pair.Spec("/vms/2", "two") with { InitialHost = "c" };
        Assert.Equal("module.primary-foreign", (await pair.Module("two").CreateAsync(foreign, Guid.NewGuid())).Problem!.Code);
    }

    [Theory]
    [InlineData("vms/web", "module.directory-invalid")]
    [InlineData("/", "module.directory-invalid")]
    [InlineData("/vms/../etc", "module.directory-invalid")]
    [InlineData("/vms//web", "module.directory-invalid")]
    [InlineData("/vms/web/", "module.directory-invalid")]
    [InlineData("/vms/we\nb", "module.directory-invalid")]
    public async Task A_directory_that_is_no_plain_absolute_path_is_refused(string directory, string code)
    {
        var pair = await host.PairAsync();
        Assert.Equal(code, (await pair.Module("web").CreateAsync(Pair.Spec(directory), Guid.NewGuid())).Problem!.Code);
    }

    [Fact]
    public async Task Start_and_stop_reach_both_hosts_with_a_new_version_and_a_hint()
    {
        var pair = await host.PairAsync();
        var module = await pair.ModuleAsync();
        var before = await pair.A.DesiredAsync();
        pair.A.Hinted = new(TaskCreationOptions.RunContinuationsAsynchronously);
        Assert.Null((await module.SetRunAsync(true)).Problem);
        await pair.A.Hinted.Task.WaitAsync(TimeSpan.FromSeconds(20));
        var after = await pair.A.DesiredAsync();
        Assert.True(Assert.Single(after.Modules).Run);
        Assert.Equal(before.Version + 1, after.Version);
        Assert.Equal(after.Version, (await pair.A.DesiredAsync()).Version);
    }

    [Fact]
    public async Task Only_a_stopped_module_is_deleted()
    {
        var pair = await host.PairAsync();
        var module = await pair.ModuleAsync();
        await module.SetRunAsync(true);
        Assert.Equal("module.running", (await module.DeleteAsync()).Problem!.Code);
        await module.SetRunAsync(false);
        await pair.A.SayAsync(order => PlayedHost.Report(order) with { Role = "PRIM" });
        Assert.Equal("module.stopping", (await module.DeleteAsync()).Problem!.Code);
        await pair.A.SayAsync(PlayedHost.Report);
        Assert.Null((await module.DeleteAsync()).Problem);
        Assert.Empty((await pair.A.DesiredAsync()).Modules);
        Assert.Equal("module.unknown", (await module.SetRunAsync(true)).Problem!.Code);
    }
}
