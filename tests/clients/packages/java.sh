# Deployed into a repository of our own, from which the project takes it.
mvn -q -B -ntp -f "$CLIENT/pom.xml" deploy -DskipTests "-DaltDeploymentRepository=here::file://$PWD/repository"

mkdir -p desk/src/main/java
cp "$CLIENT/examples/ToolDesk.java" desk/src/main/java
cat > desk/pom.xml <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>com.example</groupId>
  <artifactId>desk</artifactId>
  <version>1</version>
  <properties>
    <!-- Also for the compiler plugin that Maven 3.8 has by itself. -->
    <maven.compiler.source>17</maven.compiler.source>
    <maven.compiler.target>17</maven.compiler.target>
    <project.build.sourceEncoding>UTF-8</project.build.sourceEncoding>
  </properties>
  <repositories>
    <repository><id>here</id><url>file://$PWD/repository</url></repository>
  </repositories>
  <dependencies>
    <dependency><groupId>io.factstr</groupId><artifactId>factstr-client</artifactId><version>0.1.0</version></dependency>
  </dependencies>
</project>
POM
# Not what deploying has left of this version in the user's own.
rm -rf "$HOME/.m2/repository/io/factstr/factstr-client/0.1.0"
mvn -q -B -ntp -f desk/pom.xml package dependency:copy-dependencies
printf '#!/bin/sh\nexec java -cp "%s/desk/target/classes:%s/desk/target/dependency/*" ToolDesk "$@"\n' "$PWD" "$PWD" > tool-desk
chmod +x tool-desk
