using Pollux.Grains.Abstractions;
using Pollux.Grains.Core;
using Pollux.Tests.Grains.Hosting;

namespace Pollux.Tests.Grains.ControlPlane;

/// <summary>The control plane after a restore of its database from a backup, and after its loss (rule S10).</summary>
public sealed class RecoveryTests
{
    [Fact]
    public async Task A_backup_that_is_older_than_the_hosts_epochs_decides_nothing_and_the_hosts_reports_do()
    {
        await using var own = await StartAsync();
        var pair = await Pair.CreateAsync(() => own.Grains);
        var module = await pair.ModuleAsync();
        var before = await MirroredAsync(pair);
        var backup = await own.BackUpAsync();
        Assert.Null((await module.SetRunAsync(true)).Problem);
        var alone = (await module.ArbitrateAsync(pair.Call(pair.B, "takeover", before))).Record!;

        await own.RestoreAsync(backup);
        module = pair.Module("web");
        // As far as the database knows both are in sync: nothing may be granted by that.
        foreach (var (host, change) in new[] { (pair.A, "exclude"), (pair.B, "takeover"), (pair.A, "look") })
        {
            var answer = await module.ArbitrateAsync(pair.Call(host, change, before));
            Assert.Equal((false, true, null), (answer.Granted, answer.Undecided, answer.Record));
        }
        Assert.Equal("cluster.recovering", (await module.SetRunAsync(false)).Problem?.Code);
        Assert.Equal("cluster.recovering", (await module.SwapAsync(Guid.NewGuid())).Problem?.Code);
        Assert.Equal("cluster.reports-missing", Assert.Single((await pair.Cluster.ReadAsync())!.Recovery!.Problems).Code);

        await pair.A.ConnectAsync();
        await pair.B.ConnectAsync();
        await pair.A.RecoverAsync("b", Memory(before));
        Assert.Equal("record.unconfirmed", Assert.Single((await pair.Cluster.ReadAsync())!.Recovery!.Problems).Code);
        await pair.B.RecoverAsync("a", Memory(alone));

        Assert.Null((await pair.Cluster.ReadAsync())!.Recovery);
        var view = await module.ReadAsync();
        Assert.Equal((alone.Epoch + 1, pair.B.Key, true), (view.Record!.Epoch, view.Record.Primary, view.Run));
        Assert.Equal(pair.B.Key, Assert.Single(view.Record.InSync));
        Assert.NotEqual(before.Incarnation, view.Record.Incarnation);
        Assert.Equal("recovered", view.History[^1].Change);
        // Open requests of the former incarnation are void; what they are refused with leads on.
        var late = await module.ArbitrateAsync(pair.Call(pair.A, "takeover", before));
        Assert.Equal((false, view.Record), (late.Granted, late.Record));
        Assert.True((await module.ArbitrateAsync(pair.Call(pair.B, "join", view.Record))).Granted);
        Assert.Equal("web", Assert.Single((await pair.A.DesiredAsync()).Modules).Spec.Vm!.Domain);
    }

    [Fact]
    public async Task Every_module_is_rebuilt_from_the_hosts_when_the_database_is_gone()
    {
        await using var own = await StartAsync();
        var pair = await Pair.CreateAsync(() => own.Grains);
        await pair.ModuleAsync();
        var spec = Pair.Spec("/vms/db", "db") with
        {
            Resync = new ResyncPolicy(1, 2), FurtherDirectories = ["/vms/db-log"], Policy = ModulePolicy.Default with { FailoverOff = true, Preferred = "b" },
        };
        await pair.ModuleAsync("db", spec);
        var record = await MirroredAsync(pair);
        var other = (await pair.Module("db").ReadAsync()).Record!;

        await own.LoseDatabaseAsync();
        Assert.Null(await pair.Cluster.ReadAsync());
        await pair.A.ConnectAsync();
        await pair.A.RecoverAsync("b", Memory(record), Memory(other, spec, "db", run: false));
        Assert.Equal(pair.Name, Assert.Single(await own.Grains.GetGrain<IFleetGrain>(IFleetGrain.Key).ListAsync()));
        // In the middle of it the server crashes: what was told is stored.
        await own.RestartAsync();
        await pair.A.ConnectAsync();
        pair.B.DesiredVersion = 70;
        await pair.B.ConnectAsync();
        await pair.B.RecoverAsync("a", Memory(record), Memory(null, spec, "db", run: false));

        var cluster = (await pair.Cluster.ReadAsync())!;
        Assert.Equal((null, 4_000L), (cluster.Recovery, cluster.Policy.DetectionMs));
        Assert.Equal(["db", "web"], cluster.Modules.Select(entry => entry.Module).Order());
        var view = await pair.Module("web").ReadAsync();
        Assert.Equal((record.Epoch + 1, record.Primary, true), (view.Record!.Epoch, view.Record.Primary, view.Run));
        var rebuilt = await pair.Module("db").ReadAsync();
        Assert.Equal((2L, null, false, "/vms/db-log"), (rebuilt.Record!.Epoch, rebuilt.Record.Primary, rebuilt.Run, rebuilt.Spec!.Directories[1]));
        Assert.Equal((spec.Resync, spec.Policy), (rebuilt.Spec.Resync, rebuilt.Spec.Policy));
        Assert.True((await pair.B.DesiredAsync()).Version > 70);
        Assert.True((await pair.Module("web").ArbitrateAsync(pair.Call(pair.B, "takeover", view.Record))).Granted);
        Assert.Null((await pair.Module("web").SwapAsync(Guid.NewGuid())).Problem is { Code: "cluster.recovering" } problem ? problem : null);
    }

    [Fact]
    public async Task With_one_host_reporting_an_operator_confirms_by_host_and_epoch_and_the_other_returns_later()
    {
        await using var own = await StartAsync();
        var pair = await Pair.CreateAsync(() => own.Grains);
        await pair.ModuleAsync();
        var record = await MirroredAsync(pair);
        await own.LoseDatabaseAsync();
        Assert.Equal("cluster.unknown", (await pair.Cluster.ConfirmRecordAsync("web", "b", record.Epoch)).Problem?.Code);
        await pair.B.ConnectAsync();
        await pair.B.RecoverAsync("a", Memory(record));
        foreach (var (host, epoch) in new[] { ("b", record.Epoch + 1), ("a", record.Epoch), (null, 0L) })
            Assert.Equal("record.not-asked", (await pair.Cluster.ConfirmRecordAsync("web", host, epoch)).Problem?.Code);
        OperatorContext.Set("alice");
        Assert.Null((await pair.Cluster.ConfirmRecordAsync("web", "b", record.Epoch)).Problem);
        OperatorContext.Set(OperatorContext.Default);
        var view = await pair.Module("web").ReadAsync();
        var recovered = Assert.Single(view.History, entry => entry.Change == "recovered");
        Assert.Equal("alice", recovered.By);
        Assert.Contains($"Operator alice confirmed the report of b of epoch {record.Epoch}.", recovered.Cause);
        Assert.Equal(record.Epoch + RecordRecovery.EpochsSkipped, view.Record!.Epoch);
        Assert.True((await pair.Module("web").ArbitrateAsync(pair.Call(pair.B, "takeover", view.Record))).Granted);

        // It has a certificate and was never joined by this database; its word comes too late.
        await pair.A.ConnectAsync();
        await pair.A.RecallAsync(1, "b", Memory(record with { Epoch = record.Epoch + 1 }));
        Assert.Equal("web", GrainKey.NameOf(Assert.Single((await pair.A.DesiredAsync()).Modules).Module));
        Assert.Equal("record.not-asked", (await pair.Cluster.ConfirmRecordAsync("web", "a", record.Epoch + 1)).Problem?.Code);
        Assert.Equal(pair.B.Key, (await pair.Module("web").ReadAsync()).Record!.Primary);
    }

    [Fact]
    public async Task Modules_made_after_the_backup_are_taken_back_and_those_deleted_after_it_wait_to_be_forgotten()
    {
        await using var own = await StartAsync();
        var pair = await Pair.CreateAsync(() => own.Grains);
        await pair.ModuleAsync("deleted", Pair.Spec("/vms/deleted", "deleted"));
        Assert.Null((await pair.Module("half").CreateAsync(Pair.Spec("/vms/half", "half"), Guid.NewGuid())).Problem);
        var backup = await own.BackUpAsync();
        Assert.Null((await pair.Module("deleted").DeleteAsync()).Problem);
        await pair.ModuleAsync();
        var record = await MirroredAsync(pair);

        await own.RestoreAsync(backup);
        await pair.A.ConnectAsync();
        await pair.B.ConnectAsync();
        await pair.A.RecoverAsync("b", Memory(record));
        await pair.B.RecoverAsync("a", Memory(record));
        var problem = Assert.Single((await pair.Cluster.ReadAsync())!.Recovery!.Problems);
        Assert.Equal("record.forgotten", problem.Code);
        Assert.Contains($"confirm-record {pair.Name}/deleted --forget", problem.Action, StringComparison.Ordinal);
        // What is decided is arbitrated already; only orders wait for the rest.
        Assert.True((await pair.Module("web").ArbitrateAsync(pair.Call(pair.A, "look", record))).Granted);
        Assert.Null((await pair.Cluster.ConfirmRecordAsync("deleted", null, 0)).Problem);

        var cluster = (await pair.Cluster.ReadAsync())!;
        Assert.Equal((null, "web"), (cluster.Recovery, Assert.Single(cluster.Modules).Module));
        Assert.Equal(ModulePhase.None, (await pair.Module("deleted").ReadAsync()).Phase);
        Assert.Equal(ModulePhase.None, (await pair.Module("half").ReadAsync()).Phase);
    }

    [Fact]
    public async Task Without_a_declaration_nothing_is_taken_back_and_a_second_one_recovers_again()
    {
        await using var own = await StartAsync();
        var pair = await Pair.CreateAsync(() => own.Grains);
        await pair.ModuleAsync();
        var record = await MirroredAsync(pair);
        await pair.A.RecallAsync(0, "b", Memory(record with { Epoch = 99 }));
        await pair.A.RecallAsync(1, "b", Memory(record with { Epoch = 99 }));
        Assert.Equal(record, (await pair.Module("web").ReadAsync()).Record);
        var stranger = new PlayedHost(() => own.Grains, GrainKey.Of("nowhere", "a"));
        Assert.Equal("host.unknown", (await stranger.OpenAsync("key")).Problem?.Code);

        for (var round = 1; round <= 2; round++)
        {
            await own.RestartAsync(restored: true);
            await pair.A.ConnectAsync();
            await pair.B.ConnectAsync();
            await pair.A.RecoverAsync("b", Memory(record));
            await pair.B.RecoverAsync("a", Memory(record));
            var next = (await pair.Module("web").ReadAsync()).Record!;
            Assert.Equal(record.Epoch + 1, next.Epoch);
            Assert.NotEqual(record.Incarnation, next.Incarnation);
            record = next;
        }
        Assert.Equal("host.certificate-replaced", (await new PlayedHost(() => own.Grains, pair.A.Key).OpenAsync("another key")).Problem?.Code);
    }

    [Fact]
    public async Task A_restore_that_nobody_has_declared_is_noticed_by_what_hosts_have_and_nothing_is_decided_or_ordered_any_more()
    {
        await using var own = await StartAsync();
        var pair = await Pair.CreateAsync(() => own.Grains);
        await pair.ModuleAsync();
        var record = await MirroredAsync(pair);
        pair.A.DesiredVersion = (await pair.A.DesiredAsync()).Version;
        var backup = await own.BackUpAsync();
        await pair.ModuleAsync("newer", Pair.Spec("/vms/newer", "newer"));
        var alone = (await pair.Module("web").ArbitrateAsync(pair.Call(pair.A, "exclude", record))).Record!;
        pair.A.DesiredVersion = (await pair.A.DesiredAsync()).Version;

        await own.RestoreAsync(backup, declared: false);
        await pair.B.ConnectAsync();
        await pair.B.DesiredAsync();
        await pair.A.ConnectAsync();
        // Without the newer module it would be told to release it.
        var answer = await pair.A.AnswerAsync();
        Assert.Equal((null, null), (answer.Desired, answer.Recover));
        Assert.True((await pair.A.Grain.ReadAsync()).Ahead);
        Assert.True((await pair.Module("web").ArbitrateAsync(pair.Call(pair.A, "join", alone))).Undecided);
        Assert.True((await pair.Module("web").ArbitrateAsync(pair.Call(pair.B, "takeover", record))).Undecided);
        Assert.True((await pair.Module("web").ReadAsync()).Forgotten);

        await own.RestartAsync(restored: true);
        await pair.A.ConnectAsync();
        await pair.B.ConnectAsync();
        Assert.False((await pair.A.Grain.ReadAsync()).Ahead);
        await pair.A.RecoverAsync("b", Memory(alone), Memory(null, Pair.Spec("/vms/newer", "newer"), "newer") with { Record = new RecordView(Guid.NewGuid(), 1, null, [pair.A.Key]) });
        await pair.B.RecoverAsync("a", Memory(record), Memory(null, Pair.Spec("/vms/newer", "newer"), "newer"));
        Assert.Equal(pair.A.Key, Assert.Single((await pair.Module("web").ReadAsync()).Record!.InSync));
        Assert.Equal(2, (await pair.A.DesiredAsync()).Modules.Length);
    }

    [SecondServerFact]
    public async Task A_server_that_was_not_stopped_for_a_restore_grants_and_orders_nothing_once_the_restore_is_declared()
    {
        await using var own = await StartAsync();
        var pair = await Pair.CreateAsync(() => own.Grains);
        await pair.ModuleAsync();
        var record = await MirroredAsync(pair);
        var module = pair.Module("web");
        await own.DeclareElsewhereAsync();

        var exclude = pair.Call(pair.A, "exclude", record);
        var refused = await module.ArbitrateAsync(exclude);
        Assert.Equal((false, true, (RecordView?)null), (refused.Granted, refused.Undecided, refused.Record));
        Assert.Equal(record, (await module.ReadAsync()).Record);
        // Nor a look: it would show an incarnation that is past.
        Assert.Null((await module.ArbitrateAsync(pair.Call(pair.B, "look", record))).Record);
        Assert.Equal((null, null), ((await pair.A.AnswerAsync()).Desired, (await pair.A.AnswerAsync()).Recover));
        Assert.Equal("control.superseded", (await module.DeleteAsync()).Problem?.Code);

        await own.RestartAsync();
        await pair.A.ConnectAsync();
        await pair.B.ConnectAsync();
        await pair.A.RecoverAsync("b", Memory(record));
        await pair.B.RecoverAsync("a", Memory(record));
        var recovered = (await pair.Module("web").ReadAsync()).Record!;
        Assert.Equal((record.Epoch + 1, record.Primary), (recovered.Epoch, recovered.Primary));
    }

    /// <summary>Without the authority's keys hosts join anew, into a cluster that an operator has made again.</summary>
    [Fact]
    public async Task Hosts_that_join_a_cluster_made_again_after_a_declared_loss_are_asked_before_they_are_told_anything()
    {
        await using var own = await StartAsync();
        var pair = await Pair.CreateAsync(() => own.Grains);
        await pair.ModuleAsync();
        var record = await MirroredAsync(pair);
        await own.LoseDatabaseAsync();
        Assert.Null((await pair.Cluster.CreateAsync(ClusterPolicy.Default)).Problem);
        // A replaced host, which knows nothing, comes first: that must not look as if there were nothing to know.
        await pair.B.JoinAsync(await pair.Cluster.AddHostAsync("b"));
        await pair.B.ConnectAsync();
        await pair.B.RecoverAsync(null);
        Assert.Equal("cluster.recovering", (await pair.Module("web").CreateAsync(Pair.Spec(), Guid.NewGuid())).Problem?.Code);
        await pair.A.JoinAsync(await pair.Cluster.AddHostAsync("a"));
        await pair.A.ConnectAsync();
        await pair.A.RecoverAsync("b", Memory(record));
        var asked = Assert.Single((await pair.Cluster.ReadAsync())!.Recovery!.Problems);
        Assert.Equal("record.unconfirmed", asked.Code);
        Assert.StartsWith("If b was replaced", asked.Action);
        Assert.Null((await pair.Cluster.ConfirmRecordAsync("web", "a", record.Epoch)).Problem);
        Assert.Equal("web", GrainKey.NameOf(Assert.Single((await pair.B.DesiredAsync()).Modules).Module));
    }

    private static Task<TestGrainHost> StartAsync() => TestGrainHost.StartAsync(options => options.NeedsFile = true);

    private static ModuleMemory Memory(RecordView? record, ModuleSpec? spec = null, string name = "web", bool run = true) =>
        new(name, spec ?? Pair.Spec(), run, record, "UpToDate");

    private static async Task<RecordView> MirroredAsync(Pair pair)
    {
        var module = pair.Module("web");
        var alone = await module.ArbitrateAsync(pair.Call(pair.A, "takeover", (await module.ReadAsync()).Record!));
        return (await module.ArbitrateAsync(pair.Call(pair.A, "join", alone.Record!))).Record!;
    }
}
