using Pollux.DataPlane.Core.Roles;

namespace Pollux.Tests.Simulation.Model;

/// <summary>Faults and operator's commands at random times, for a while; then everything is healed.</summary>
internal sealed class FaultPlan(World world)
{
    private readonly SeededRandom random = world.Random;
    private long endMs;
    private bool healed;

    public void Begin(long forMs)
    {
        endMs = world.Schedule.NowMs + forMs;
        Next();
    }

    private void Next() => world.Schedule.After(random.Chance(300) ? random.Between(0, 300) : random.Between(200, 6_000), () =>
    {
        if (healed || world.Schedule.NowMs >= endMs)
            return;
        Strike();
        Next();
    });

    private void Strike()
    {
        var host = random.Of(world.Hosts);
        var shortMs = random.Between(50, 3 * world.DetectionMs);
        if (StrikeWhatShows(host, shortMs))
            return;
        switch (random.Between(0, 36))
        {
            case 0: world.Cut(host, shortMs); break;
            case 1:
            case 2:
                world.Cut(host, shortMs);
                world.Cut(host.Peer, shortMs);
                break;
            case 3: world.Arbiter.Away(shortMs); break;
            case 4:
                host.ArbiterCutUntilMs = world.Schedule.NowMs + shortMs;
                world.Say("fault", $"{host.Name} does not reach the arbiter for {shortMs} ms");
                break;
            case 5:
            case 6: CrashProcess(host, "process crashes"); break;
            case 7:
                host.CrashAfterEffects(random.Between(0, 30));
                RestartLater(host);
                break;
            case 8: LosePower(host); break;
            case 9 when random.Chance(300):
                LosePower(host);
                world.Schedule.After(random.Between(0, 400), () => LosePower(host.Peer));
                break;
            case 10:
                host.Freeze();
                world.Schedule.After(random.Between(50, 2 * world.DetectionMs), host.Thaw);
                break;
            case 11 when random.Chance(300): host.Vm.Crash(random.Chance(100) ? 4 : 0); break;
            case 12:
            case 13: host.Feed(new RoleInput.Command(random.Guid(), RoleCommand.Swap)); break;
            case 14 when random.Chance(400):
                world.Desire(false);
                world.Schedule.After(random.Between(100, 8_000), () => world.Desire(true, random.Chance(500) ? host.Name : null));
                break;
            case 16 when random.Chance(200): world.Arbiter.Rebuild(); break;
            case 17 when random.Chance(100): host.Vm.ShutDown(); break;
            case 18: FillDisk(host, shortMs); break;
            case 19 when random.Chance(300): FailDisk(host, shortMs); break;
            case 20: CrashAndDamage(host); break;
            // A long file takes too long to be hashed again and again.
            case 21 when world.Layout.Files.Count == 2: host.Engine?.Verify(random.Chance(500)); break;
            case 22: LosePower(host); break;
            case 23:
            case 24: BreakLinks(host); break;
            case 25:
                for (var times = random.Between(2, 8); times > 0; times--)
                    world.Schedule.After(random.Between(0, world.DetectionMs), () => BreakLinks(host));
                break;
            case 26 when random.Chance(300): FailWriteback(host); break;
            case 27:
                host.Disk.Evict(world.Choose);
                world.Say("fault", $"memory of {host.Name} is short");
                break;
            case 28: host.Feed(new RoleInput.Command(random.Guid(), RoleCommand.Restart)); break;
            case 29: host.Feed(new RoleInput.Command(random.Guid(), RoleCommand.FullResync)); break;
            case 30:
                world.SetPolicy(new ModulePolicy { FailoverOff = true });
                world.Schedule.After(shortMs, () => world.SetPolicy(ModulePolicy.Default));
                break;
            case 31 when random.Chance(500): BootHeld(host, shortMs); break;
            case 32:
            case 33: Leave(host); break;
            case 34: LoseNewestCopy(); break;
            case 35: ComeBackDuringTakeover(host); break;
            case 36: Unwell(host); break;
            case 15 when random.Chance(100): host.Feed(new RoleInput.LocalFault("I/O error")); break;
        }
    }

    /// <summary>Some breaks show only after a fault that is rare, and then by chance: in their runs it comes more often.</summary>
    private bool StrikeWhatShows(SimHost host, long shortMs)
    {
        switch (world.Sabotage)
        {
            case Sabotage.FlushesBelieved when random.Chance(100): FailUnderFlush(host, shortMs); return true;
            case Sabotage.AnswerWhileClaiming when random.Chance(100): ComeBackDuringTakeover(host); return true;
            case Sabotage.HeirTrusted when random.Chance(100): FailWriteback(host); return true;
            default: return false;
        }
    }

    /// <summary>The peer does not hear this host for about the detection time and then does, while its request for takeover finds no arbiter; then
    /// neither hears the other.</summary>
    private void ComeBackDuringTakeover(SimHost host)
    {
        world.Cut(host, random.Between(world.DetectionMs, world.DetectionMs * 3 / 2));
        world.Arbiter.Away(random.Between(world.DetectionMs * 3 / 2, 2 * world.DetectionMs));
        host.ArbiterCutUntilMs = world.Schedule.NowMs + 3 * world.DetectionMs;
        world.Schedule.After(random.Between(world.DetectionMs * 3 / 2, 2 * world.DetectionMs), () =>
        {
            if (healed)
                return;
            world.Cut(host, world.DetectionMs);
            world.Cut(host.Peer, world.DetectionMs);
        });
    }

    /// <summary>What runs is found to be unwell, by one checker or by several in a row.</summary>
    private void Unwell(SimHost host)
    {
        var serves = world.Hosts.FirstOrDefault(each => each.Machine?.View.Role is Role.Prim or Role.Alone) ?? host;
        for (var times = random.Chance(100) ? 4 : 1; times > 0; times--)
        {
            var action = random.Chance(500) ? CheckAction.Restart : CheckAction.Move;
            world.Schedule.After(random.Between(0, world.DetectionMs) * times, () => serves.Feed(new RoleInput.Unwell("web", action, "no answer")));
        }
    }

    /// <summary>A host is shut down, SECOND if there is one; without the arbiter it has to promise to leave, and is back before or after it.</summary>
    private void Leave(SimHost host)
    {
        var leaver = host.Machine?.View.Role == Role.Prim ? host.Peer : host;
        if (random.Chance(600))
            world.Arbiter.Away(random.Between(500, 5 * world.DetectionMs));
        leaver.StopInOrder();
        world.Schedule.After(random.Between(100, 5 * world.DetectionMs), leaver.Start);
        world.Schedule.After(5 * world.DetectionMs, leaver.Start);
    }

    /// <summary>The host with the only good copy loses power, the other one too, perhaps; the operator has seen that the first is off, and goes on with
    /// what the second has: what is stable there, since a check of half-flushed copies would have to know all that was overwritten.</summary>
    private void LoseNewestCopy()
    {
        if (world.Hosts.FirstOrDefault(host => host.Machine?.View is { Role: Role.Alone }) is not { } newest)
            return;
        var other = newest.Peer;
        if (random.Chance(700))
            LosePower(other);
        newest.LosePower();
        world.Schedule.After(3 * world.DetectionMs, () =>
        {
            var record = world.Arbiter.Record;
            if (!newest.Powered && other.Machine?.State is { DataState: DataState.Outdated } state && state.Record.Epoch > 0 && !record.InSync.Contains(other.Name)
                && record.Incarnation == state.Record.Incarnation && world.Layout.Cells.All(cell => cell.AfterLoss(other.Disk).SetEquals([cell.Now(other.Disk)])))
                world.Arbiter.Declare(other);
        });
        world.Schedule.After(random.Between(4 * world.DetectionMs, 8 * world.DetectionMs), newest.RestorePower);
    }

    private void BreakLinks(SimHost host)
    {
        world.Say("fault", $"links of {host.Name} are reset");
        host.Engine?.BreakLinks();
    }

    private void CrashProcess(SimHost host, string why)
    {
        host.Crash(why);
        RestartLater(host);
    }

    /// <summary>Writes find no room for a while; a flush may find that what was written before has none.</summary>
    private void FillDisk(SimHost host, long forMs)
    {
        var errno = (int)random.Of([(long)Linux.ENOSPC, Linux.EDQUOT]);
        world.Say("fault", $"the disk of {host.Name} is full for {forMs} ms");
        host.Disk.WriteErrno = errno;
        world.Schedule.After(forMs, () => host.Disk.WriteErrno = 0);
    }

    private void FailDisk(SimHost host, long forMs)
    {
        var what = random.Between(0, 3);
        if (what == 3)
        {
            FailUnderFlush(host, forMs);
            return;
        }
        world.Say("fault", $"the disk of {host.Name} fails {((string[])["writes", "flushes", "metadata"])[what]} for {forMs} ms");
        host.Disk.WriteErrno = what == 0 ? Linux.EIO : 0;
        host.Disk.FlushErrno = what == 1 ? (int)random.Of([(long)Linux.EIO, Linux.ENOSPC]) : 0;
        host.Disk.MetadataErrno = what == 2 ? Linux.EIO : 0;
        world.Schedule.After(forMs, () => host.Disk.WriteErrno = host.Disk.FlushErrno = host.Disk.MetadataErrno = 0);
    }

    /// <summary>The flush under which it fails is confirmed; then the host may have no time to tell of the next one.</summary>
    private void FailUnderFlush(SimHost host, long forMs)
    {
        host.Disk.FailsUnderFlush = () =>
        {
            world.Say("fault", $"the file system of {host.Name} fails under a flush and calls it done");
            world.Schedule.After(random.Between(0, 60), () =>
            {
                if (random.Chance(500))
                    world.Cut(host, forMs);
            });
            world.Schedule.After(forMs, () =>
            {
                if (host.Disk.IsAborted && !healed)
                    LosePower(host);
            });
        };
        world.Schedule.After(forMs, () => host.Disk.FailsUnderFlush = null);
    }

    /// <summary>Nobody is told before the next flush, and whoever is told may die of it.</summary>
    private void FailWriteback(SimHost host)
    {
        world.Say("fault", $"the disk of {host.Name} fails the kernel's own writes");
        host.Disk.FailWriteback(Linux.EIO, world.Choose);
        if (random.Chance(500))
            world.Schedule.After(random.Between(0, 100), () => CrashProcess(host, "process crashes"));
    }

    private void CrashAndDamage(SimHost host)
    {
        CrashProcess(host, "process crashes");
        var file = random.Of([SimEngine.CheckpointFile, SimEngine.LogFile]);
        if (random.Chance(300) && host.Disk.DamageMetadata(file, random))
            world.Say("fault", $"{file} of {host.Name} is damaged");
    }

    private void RestartLater(SimHost host) => world.Schedule.After(random.Between(100, 2 * world.DetectionMs), host.Start);

    private void LosePower(SimHost host)
    {
        host.LosePower();
        world.Schedule.After(random.Between(300, 3 * world.DetectionMs), host.RestorePower);
    }

    /// <summary>Its power goes while nothing is to start at boot; later the operator starts it.</summary>
    private void BootHeld(SimHost host, long shortMs)
    {
        world.SetPolicy(new ModulePolicy { StaysDownAtBoot = true });
        world.Schedule.After(2_000, () =>
        {
            if (!healed)
                LosePower(host);
        });
        world.Schedule.After(2_000 + 2 * shortMs, () =>
        {
            world.SetPolicy(ModulePolicy.Default);
            if (host.Desired.Run)
                world.Desire(true);
        });
    }

    public void Heal()
    {
        world.Say("fault", "everything is healed");
        healed = true;
        world.Arbiter.Heal();
        world.BeaconLossPerMille = 0;
        world.ArbiterLossPerMille = 0;
        world.LinkFaultsPerMille = 0;
        foreach (var host in world.Hosts)
        {
            host.CutUntilMs = host.ArbiterCutUntilMs = 0;
            host.CrashAfterEffects(-1);
            host.Vm.Mend();
            host.Disk.WriteErrno = host.Disk.FlushErrno = host.Disk.MetadataErrno = 0;
            host.Disk.FailsUnderFlush = null;
            host.Thaw();
            if (host.Disk.IsAborted)
                host.LosePower();
            host.RestorePower();
            host.Start();
        }

        world.SetPolicy(ModulePolicy.Default);
        world.Desire(true);
    }
}
