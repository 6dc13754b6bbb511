using System.CommandLine;
using Pollux.Gateway.Api;

namespace Pollux.Gateway.Commands;

/// <summary><c>pollux cluster …</c> and <c>pollux host …</c>.</summary>
internal static class ClusterCommands
{
    public static void AddTo(RootCommand root)
    {
        root.Add(new Command("cluster", "Host pairs.") { Create(), List() });
        root.Add(new Command("host", "Hosts of a cluster.")
        {
            Token("add", "Adds a host and prints its one-time join token.", (api, key, cancel) =>
                api.PostAsync<HostTokenDocument>($"/api/v1/clusters/{Escape(key.Cluster)}/hosts", new AddHostRequest(key.Name), cancel)),
            Token("token", "Prints a new one-time join token for a host.", (api, key, cancel) =>
                api.PostAsync<HostTokenDocument>($"/api/v1/clusters/{Escape(key.Cluster)}/hosts/{Escape(key.Name)}/token", null, cancel)),
        });
    }

    internal static string Escape(string name) => Uri.EscapeDataString(name);

    private static Command Create()
    {
        var name = new Argument<string>("NAME") { Description = "a-z, 0-9 and '-', up to 40." };
        var detection = new Option<TimeSpan?>("--detection")
        {
            Description = "Silence after which a peer counts as lost: 2s at least, 30s by default.", HelpName = "TIME", CustomParser = result => Durations.Parse(result),
        };
        var modulesMax = new Option<int?>("--modules-max") { Description = "Most modules of the cluster: 32 by default.", HelpName = "N" };
        var link = new Option<string?>("--link")
        {
            Description = "How data travels between the hosts: tls (default), or plaintext on a network that is theirs alone.", HelpName = "tls|plaintext",
        };
        link.AcceptOnlyFromAmong(LinkText.Tls, LinkText.Plaintext);
        var command = new Command("create", "Creates a cluster.") { name, detection, modulesMax, link };
        command.SetApiAction(async (parsed, api, cancel) =>
        {
            var created = await api.PostAsync<ClusterDocument>("/api/v1/clusters", new CreateClusterRequest(
                parsed.GetRequiredValue(name), (long?)parsed.GetValue(detection)?.TotalMilliseconds, parsed.GetValue(modulesMax), parsed.GetValue(link)), cancel);
            if (parsed.GetValue(PolluxCommandLine.AsJson)) parsed.PrintJson(created);
            else parsed.Output().WriteLine($"Cluster {created.Name} created, detection {Durations.Text(created.DetectionMs)}, link {created.Link}. Add its two hosts: pollux host add {created.Name}/NAME");
            return PolluxCommandLine.Done;
        });
        return command;
    }

    private static Command List()
    {
        var command = new Command("list", "Lists clusters.");
        command.SetApiAction(async (parsed, api, cancel) =>
        {
            var list = await api.GetAsync<ClusterListDocument>("/api/v1/clusters", cancel);
            if (parsed.GetValue(PolluxCommandLine.AsJson)) parsed.PrintJson(list);
            else foreach (var cluster in list.Clusters) parsed.Output().WriteLine(cluster);
            return PolluxCommandLine.Done;
        });
        return command;
    }

    private static Command Token(string name, string description, Func<ApiClient, Key, CancellationToken, Task<HostTokenDocument>> ask)
    {
        var key = Key.Argument("CLUSTER/HOST", "The host.");
        var command = new Command(name, description) { key };
        command.SetApiAction(async (parsed, api, cancel) =>
        {
            var issued = await ask(api, parsed.GetRequiredValue(key), cancel);
            if (parsed.GetValue(PolluxCommandLine.AsJson)) parsed.PrintJson(issued);
            else
            {
                await parsed.Error().WriteLineAsync($"Join token of {issued.Host}, good for one hour and one use. On that host: pollux-host join --server URL --token TOKEN");
                parsed.Output().WriteLine(issued.Token);
            }
            return PolluxCommandLine.Done;
        });
        return command;
    }
}
