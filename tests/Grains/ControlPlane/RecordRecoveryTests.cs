using System.Collections.Immutable;
using Pollux.Grains.Abstractions;
using Pollux.Grains.Core;

namespace Pollux.Tests.Grains.ControlPlane;

/// <summary>Rule S10 as a pure decision: every combination of what two hosts and the database can say.</summary>
public sealed class RecordRecoveryTests
{
    private const string Module = "c/m", A = "c/a", B = "c/b";
    private static readonly Guid Old = new(1, 0, 0, new byte[8]), Other = new(2, 0, 0, new byte[8]), New = new(3, 0, 0, new byte[8]);

    [Fact]
    public void Of_two_reports_the_higher_epoch_wins_as_another_incarnation_and_one_epoch_on()
    {
        var made = Decided(null, Says(A, 6, A, [A]), Says(B, 5, A, [A, B]));
        Assert.Equal((New, 7L, A), (made.Incarnation, made.Epoch, made.Primary));
        Assert.Equal(A, Assert.Single(made.InSync));
        Assert.Equal([A, B], made.Hosts.ToArray());
        Assert.Empty(made.Granted);
    }

    /// <summary>All pairs of what hosts say, with every memory of the database and every word of an operator: what comes out, if anything, is never
    /// behind a report of which the decision knows, names only members that the winning record named, and needs the operator whenever a host has said nothing.</summary>
    [Fact]
    public void No_combination_gives_authority_that_no_report_has()
    {
        HostTestimony[] Words(string host) =>
        [
            new(Module, host, false, null), new(Module, host, true, null), Says(host, 0, null, []), Says(host, 1, null, [A]), Says(host, 4, A, [A, B]),
            Says(host, 5, A, [A]), Says(host, 5, B, [B]), Says(host, 6, B, [A, B]), Says(host, 5, A, [A, B], Other), Says(host, 9, B, [B], Other),
        ];
        ArbiterRecord?[] memories = [null, Own(1, null, [A]), Own(3, A, [A, B]), Own(7, B, [B]), Own(50, A, [A, B], Other)];
        RecordConfirmation?[] words = [null, new(Module, A, 5), new(Module, B, 5), new(Module, A, 99), new(Module, null, 0)];
        var (decided, waiting) = (0, 0);
        foreach (var a in Words(A))
            foreach (var b in Words(B))
                foreach (var own in memories)
                    foreach (var word in words)
                    {
                        var step = RecordRecovery.Decide(Module, own, [a, b], word, New);
                        if (step is not RecoveryStep.Decided { Record: var record })
                        {
                            waiting++;
                            Assert.True(step is RecoveryStep.Wait || (a.Answered && b.Answered && !a.Knows && !b.Knows));
                            continue;
                        }
                        decided++;
                        HostTestimony[] spoken = [.. new[] { a, b }.Where(one => one.HasRecord)];
                        var confirmed = word?.Host is not null && spoken.Any(one => one.Host == word.Host && one.Record!.Epoch == word.Epoch);
                        var basis = spoken.Select(one => (one.Record!.Incarnation, one.Record.Epoch, one.Record.Primary, one.Record.InSync))
                            .Concat(own is null ? [] : [(own.Incarnation, own.Epoch, own.Primary, own.InSync)])
                            .Where(one => one.Primary == record.Primary && one.InSync.SequenceEqual(record.InSync)).ToArray();
                        Assert.NotEmpty(basis);
                        Assert.Equal(New, record.Incarnation);
                        Assert.True(record.Primary is null || record.InSync.Contains(record.Primary));
                        // Each grant was asked for by a host that had stored the one before.
                        var newest = spoken.MaxBy(one => one.Record!.Epoch)!.Record!;
                        var behind = own?.Incarnation == newest.Incarnation && own.Epoch > newest.Epoch + 1;
                        if (!confirmed || (!behind && spoken.Length == 2 && spoken[0].Record!.Epoch != spoken[1].Record!.Epoch))
                        {
                            Assert.True(a.Answered && b.Answered);
                            Assert.All(spoken, one => Assert.True(one.Record!.Epoch < record.Epoch));
                            if (spoken.Length == 1) Assert.Equal((A, 1L), (Assert.Single(record.InSync), spoken[0].Record!.Epoch));
                            Assert.False(behind);
                        }
                        else
                        {
                            Assert.True(record.Epoch >= word!.Epoch + RecordRecovery.EpochsSkipped || spoken.Length == 2);
                        }
                    }
        Assert.True(decided > 100 && waiting > 100, $"{decided} decided, {waiting} waiting");
    }

    [Fact]
    public void What_the_database_remembers_counts_only_where_it_continues_what_a_host_has()
    {
        var later = Decided(Own(8, B, [B]), Says(A, 7, A, [A, B]), Says(B, 7, A, [A, B]));
        Assert.Equal((9L, B), (later.Epoch, later.Primary));
        // Each grant was asked for by a host that had stored the one before: a host has lost what it had stored, or has an older copy of it.
        Assert.Equal("record.behind", Waits(Own(9, B, [B]), null, Says(A, 7, A, [A, B]), Says(B, 7, A, [A, B])).Code);
        Assert.Equal((9 + RecordRecovery.EpochsSkipped, B), Decided(Own(9, B, [B]), new RecordConfirmation(Module, A, 7), Says(A, 7, A, [A, B]), Says(B, 7, A, [A, B])) is var word ? (word.Epoch, word.Primary) : default);
        // The module was deleted and made anew after the backup: epochs of the former one say nothing.
        var foreign = Decided(Own(50, A, [A, B], Other), Says(A, 2, A, [A, B]), Says(B, 3, B, [B]));
        Assert.Equal((4L, B), (foreign.Epoch, foreign.Primary));
    }

    [Fact]
    public void An_operators_word_that_no_host_or_only_the_other_one_had_stored_before_the_loss_still_counts()
    {
        var before = Says(A, 7, A, [A]);
        Assert.Equal((9L, B, B), Declared(Decided(Own(8, B, [B]) with { Declared = B }, before, Says(B, 7, A, [A]))));
        var stored = Says(A, 8, B, [B]);
        stored = stored with { Memory = stored.Memory! with { Record = stored.Record! with { Declared = B } } };
        Assert.Equal((9L, B, B), Declared(Decided(null, stored, Says(B, 7, A, [A]))));
        Assert.Equal((9L, B, B), Declared(Decided(Own(7, A, [A]), stored, Says(B, 7, A, [A]))));
        // It is done with as soon as the record has changed again.
        Assert.Equal((10L, B, null), Declared(Decided(Own(8, B, [B]) with { Declared = B }, stored, Says(B, 9, B, [B]))));
        Assert.Equal((9L, A, null), Declared(Decided(Own(8, B, [B], Other) with { Declared = B }, Says(A, 8, A, [A]), Says(B, 7, A, [A]))));
    }

    [Fact]
    public void One_report_waits_for_an_operator_who_names_host_and_epoch()
    {
        HostTestimony[] both = [Says(A, 5, A, [A, B]), new(Module, B, false, null)];
        var asked = Waits(null, null, both);
        Assert.Equal("record.unconfirmed", asked.Code);
        Assert.Contains("--host a --epoch 5", asked.Action, StringComparison.Ordinal);
        Assert.Equal("record.unconfirmed", Waits(null, new(Module, A, 4), both).Code);
        Assert.Equal("record.unconfirmed", Waits(null, new(Module, B, 5), both).Code);
        Assert.Equal(5 + RecordRecovery.EpochsSkipped, Decided(null, new RecordConfirmation(Module, A, 5), both).Epoch);
        // A replaced host has reported, and knows nothing: it may have had a later epoch before.
        Assert.Equal("record.unconfirmed", Waits(null, null, Says(A, 5, A, [A]), new(Module, B, true, null)).Code);
        Assert.Equal("record.unconfirmed", Waits(null, null, Says(A, 5, A, [A]), Says(B, 0, null, [])).Code);
    }

    [Fact]
    public void A_module_that_was_never_started_needs_no_operator_once_both_hosts_have_reported()
    {
        var made = Decided(null, Says(A, 1, null, [A]), Says(B, 0, null, []));
        Assert.Equal((2L, null), (made.Epoch, made.Primary));
        Assert.Equal("record.unconfirmed", Waits(null, null, Says(A, 1, null, [A]), new(Module, B, false, null)).Code);
        Assert.Equal("record.unconfirmed", Waits(null, null, new(Module, A, true, null), Says(B, 1, null, [A])).Code);
    }

    [Fact]
    public void Contradicting_reports_of_one_epoch_and_unreadable_ones_are_for_an_operator()
    {
        Assert.Equal("record.conflict", Waits(null, null, Says(A, 5, A, [A]), Says(B, 5, B, [B])).Code);
        Assert.Equal(B, Decided(null, new RecordConfirmation(Module, B, 5), Says(A, 5, A, [A]), Says(B, 5, B, [B])).Primary);
        Assert.Equal("record.forgotten", Waits(null, null, Says(A, 0, null, []), Says(B, 0, null, [])).Code);
        Assert.Equal("record.forgotten", Waits(null, null, Says(A, 5, "c/x", ["c/x"]), Says(B, 4, A, [A])).Code);
        Assert.Equal("record.silent", Waits(null, null, new(Module, A, false, null), new(Module, B, true, null)).Code);
        Assert.IsType<RecoveryStep.Unknown>(RecordRecovery.Decide(Module, Own(3, A, [A]), [new(Module, A, true, null), new(Module, B, true, null)], null, New));
    }

    private static (long Epoch, string? Primary, string? Declared) Declared(ArbiterRecord record) => (record.Epoch, record.Primary, record.Declared);

    private static ArbiterRecord Decided(ArbiterRecord? own, params HostTestimony[] said) => Decided(own, null, said);

    private static ArbiterRecord Decided(ArbiterRecord? own, RecordConfirmation? word, params HostTestimony[] said) =>
        Assert.IsType<RecoveryStep.Decided>(RecordRecovery.Decide(Module, own, [.. said], word, New)).Record;

    private static Problem Waits(ArbiterRecord? own, RecordConfirmation? word, params HostTestimony[] said) =>
        Assert.IsType<RecoveryStep.Wait>(RecordRecovery.Decide(Module, own, [.. said], word, New)).Problem;

    private static HostTestimony Says(string host, long epoch, string? primary, ImmutableArray<string> inSync, Guid? incarnation = null) => new(
        Module, host, true, new ModuleMemory("m", Pair.Spec(), true, new RecordView(incarnation ?? Old, epoch, primary, inSync), "UpToDate"));

    private static ArbiterRecord Own(long epoch, string? primary, ImmutableArray<string> inSync, Guid? incarnation = null) =>
        new(incarnation ?? Old, epoch, primary, inSync, [A, B], []);
}
