using System.Net.Sockets;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Npgsql;
using Orleans;
using Orleans.Configuration;
using Orleans.Hosting;
using Orleans.Runtime;

namespace Pollux.Silo.Storage;

/// <summary>
/// Lets a silo start alone after all were killed at once. Orleans joins only when every member that looks alive answers,
/// tries for five minutes and gives up; it evicts a member whose row has gone stale, but looks for those only when the
/// membership changes, and alone it does not. So this step, before the silo joins, waits until the rows of members that
/// nobody can reach have gone stale. It declares nobody dead: that stays with Orleans.
/// </summary>
internal sealed class AbandonedSilos(
    string connectionString,
    IOptions<ClusterOptions> cluster,
    IOptions<ClusterMembershipOptions> membership,
    ILocalSiloDetails self,
    ILogger<AbandonedSilos> logger) : ILifecycleParticipant<ISiloLifecycle>
{
    // A member on the same network answers a connection attempt in milliseconds; one attempt may be lost and repeated by TCP after 1 s.
    private static readonly TimeSpan ConnectMax = TimeSpan.FromSeconds(2);

    // Between the database's clock and that of this host.
    private static readonly TimeSpan ClockMargin = TimeSpan.FromSeconds(1);

    public void Participate(ISiloLifecycle observer) =>
        observer.Subscribe(nameof(AbandonedSilos), ServiceLifecycleStage.First + 1, WaitAsync);

    private async Task WaitAsync(CancellationToken cancellationToken)
    {
        var staleAfter = (membership.Value.IAmAliveTablePublishTimeout * membership.Value.NumMissedTableIAmAliveLimit) + ClockMargin;
        while (true)
        {
            var fresh = (await ReadMembersAsync(cancellationToken)).Where(member => member.Silence < staleAfter).ToList();
            if (fresh.Count == 0 || (await Task.WhenAll(fresh.Select(member => AnswersAsync(member, cancellationToken)))).Any(answers => answers))
                return;
            var wait = staleAfter - fresh.Min(member => member.Silence);
            logger.LogWarning(
                "None of the silos {Silos} answers, but their rows are fresh: they were killed, or the network is cut. Waiting {Wait} before joining.",
                string.Join(", ", fresh.Select(member => $"{member.Address}:{member.Port}")),
                wait);
            await Task.Delay(wait, cancellationToken);
        }
    }

    private async Task<List<Member>> ReadMembersAsync(CancellationToken cancellationToken)
    {
        await using var connection = new NpgsqlConnection(connectionString);
        await connection.OpenAsync(cancellationToken);

        // 3 is SiloStatus.Active. An older generation of this very silo is not asked: Orleans replaces it.
        await using var command = new NpgsqlCommand(
            """
            SELECT Address, Port, extract(epoch FROM now() - GREATEST(StartTime, IAmAliveTime))::float8
            FROM OrleansMembershipTable
            WHERE DeploymentId = @cluster AND Status = 3 AND NOT (Address = @address AND Port = @port)
            """,
            connection);
        command.Parameters.AddWithValue("cluster", cluster.Value.ClusterId);
        command.Parameters.AddWithValue("address", self.SiloAddress.Endpoint.Address.ToString());
        command.Parameters.AddWithValue("port", self.SiloAddress.Endpoint.Port);
        await using var reader = await command.ExecuteReaderAsync(cancellationToken);
        var members = new List<Member>();
        while (await reader.ReadAsync(cancellationToken))
            members.Add(new Member(reader.GetString(0), reader.GetInt32(1), TimeSpan.FromSeconds(reader.GetDouble(2))));
        return members;
    }

    private static async Task<bool> AnswersAsync(Member member, CancellationToken cancellationToken)
    {
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        deadline.CancelAfter(ConnectMax);
        using var client = new TcpClient();
        try
        {
            await client.ConnectAsync(member.Address, member.Port, deadline.Token);
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            return false;
        }
    }

    /// <summary>A member that its row calls active, and how long it has not written the row.</summary>
    private sealed record Member(string Address, int Port, TimeSpan Silence);
}

/// <summary>Adds the step to a clustered silo.</summary>
internal static class AbandonedSilosExtensions
{
    public static ISiloBuilder WaitOutAbandonedSilos(this ISiloBuilder builder, string connectionString)
    {
        builder.Services.AddSingleton<ILifecycleParticipant<ISiloLifecycle>>(
            services => ActivatorUtilities.CreateInstance<AbandonedSilos>(services, connectionString));
        return builder;
    }
}
